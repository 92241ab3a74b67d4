// Recursive least squares on CUDA against float64 on the CPU, on the same numbers.

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "models/vla/recursive_least_squares.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

struct Setting {
  Index batch, time, heads, key, value;
  double lambda0 = 0.1;
  // or "signed", "repeated", "zero", "large"; "one", "four", "eight": as many different keys in all
  const char* keys = "positive";
};

std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << "B " << s.batch << ", T " << s.time << ", H " << s.heads << ", d " << s.key
             << ", d_v " << s.value << ", lambda0 " << s.lambda0 << ", " << s.keys << " keys";
}

constexpr const char* kNames[] = {"o", "dq", "dk", "dv", "dbeta", "dlambda0", "S", "M"};

// q, k, v, beta, lambda0 and the upstream gradient, in float64 numbers that `dtype` has.
std::vector<Tensor> numbers(const Setting& s, DType dtype) {
  Rng rng(11);
  const std::string_view keys = s.keys;
  const auto units = [&](bool repeated) {
    Tensor x = rng.normal({s.batch, s.time, s.heads, s.key}, DType::float64);
    Var y(x);
    if (keys != "signed") y = elu_plus_one(y);
    y = unit(y, 1e-6);
    if (repeated) y = concat(std::vector<Var>(4, slice(y, 1, 0, (s.time + 3) / 4)), 1);
    if (repeated) y = slice(y, 1, 0, s.time);
    return y.value().clone();
  };
  Tensor k = units(keys == "repeated"), q = units(false);
  if (const Index different = keys == "one" ? 1 : keys == "four" ? 4 : keys == "eight" ? 8 : 0) {
    const Index of_token = s.heads * s.key, of_sequence = s.time * of_token;
    for (Index i = 0; i < k.elements(); ++i) {
      const Index first = i / of_sequence * of_sequence, t = i % of_sequence / of_token;
      const Index again = first + t % different * of_token + i % of_token;
      k.mutable_data<double>()[i] = k.data<double>()[again];
      q.mutable_data<double>()[i] = k.data<double>()[again];
    }
  }
  if (keys == "zero")
    for (Index i = 0; i < k.elements(); ++i)
      if (i / (s.key * s.heads) % 3 == 0) k.mutable_data<double>()[i] = 0;
  // M's condition number is the square of the keys' length, and float32 has 2^24 to give.
  if (keys == "large")
    for (Index i = 0; i < k.elements(); ++i) k.mutable_data<double>()[i] *= 4;
  Tensor v = rng.normal({s.batch, s.time, s.heads, s.value}, DType::float64);
  Tensor beta =
      sigmoid(Var(rng.normal({s.batch, s.time, s.heads}, DType::float64))).value().clone();
  if (keys == "zero" && beta.elements() > 4) beta.mutable_data<double>()[4] = 0;
  Tensor lambda0({s.heads}, DType::float64);
  lambda0.fill(s.lambda0);
  Tensor upstream = rng.normal({s.batch, s.time, s.heads, s.value}, DType::float64);
  std::vector<Tensor> all{q, k, v, beta, lambda0, upstream};
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = all[i].to(i == 3 || i == 4 ? DType::float32 : dtype).to(DType::float64);
  return all;
}

template <class Operator>
std::vector<Tensor> results(const std::vector<Tensor>& numbers, DType dtype, Device device,
                            Operator op) {
  std::vector<Var> in;
  for (std::size_t i = 0; i < 5; ++i) {
    const DType narrow = dtype == DType::bfloat16 && i >= 3 ? DType::float32 : dtype;
    in.push_back(Var::parameter(numbers[i].to(narrow).to(device)));
  }
  Tape tape;
  const LeastSquaresResult result = op(LeastSquaresInputs{in[0], in[1], in[2], in[3], in[4]});
  const Gradients gradients = tape.backward(result.output, numbers[5].to(dtype).to(device));
  std::vector<Tensor> all{result.output.value()};
  for (const Var& x : in) all.push_back(*gradients.find(x));
  all.push_back(result.memory);
  all.push_back(result.penalty);
  for (Tensor& x : all) x = x.to(Device{}).to(DType::float64);
  return all;
}

// Relative RMS errors that are allowed.
struct Allowed {
  double output, gradient, memory;
};

void check_setting(const Setting& setting, DType dtype, const Allowed& allowed) {
  const std::vector<Tensor> in = numbers(setting, dtype);
  const auto here = results(in, DType::float64, {}, [](const LeastSquaresInputs& inputs) {
    return composed_least_squares(inputs);
  });
  const auto there = results(in, dtype, kCuda, [](const LeastSquaresInputs& inputs) {
    BOOST_TEST(has_fused_least_squares(inputs) == (inputs.key.size(1) > kFewTokens));
    return recursive_least_squares(inputs);
  });
  std::ostringstream found;
  for (std::size_t i = 0; i < here.size(); ++i) {
    const double error = relative_difference(there[i], here[i]);
    found << kNames[i] << " " << error << "  ";
    // The gradient of lambda0 is one number, the sum of terms that nearly cancel.
    const double most = i == 0   ? allowed.output
                        : i == 5 ? 10 * allowed.gradient
                        : i == 6 ? allowed.memory
                        : i == 7 ? 1e-6
                                 : allowed.gradient;
    BOOST_TEST(error <= most,
               dtype << ", " << setting << ": " << kNames[i] << " " << error << " > " << most);
  }
  BOOST_TEST_MESSAGE(dtype << ", " << setting << ": " << found.str());
}

const std::vector<Setting> kShapes{
    {2, 9, 2, 32, 32},    {1, 63, 2, 64, 64},   {1, 64, 1, 64, 64},   {2, 65, 2, 64, 64},
    {1, 200, 2, 16, 16},  {1, 130, 1, 24, 24},  {1, 130, 2, 33, 7},   {1, 70, 1, 1, 1},
    {2, 1000, 3, 64, 64}, {1, 300, 2, 64, 32},  {9, 150, 16, 64, 64}, {20, 200, 16, 32, 32},
    {2, 3, 2, 32, 32},    {1, 5000, 1, 32, 32}, {10, 430, 10, 64, 64}};

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_least_squares)

BOOST_AUTO_TEST_CASE(bfloat16_agrees_with_float64, NEEDS_CUDA) {
  for (const Setting& setting : kShapes)
    check_setting(setting, DType::bfloat16, {6e-3, 1.5e-2, 6e-3});
  for (const Setting& setting :
       {Setting{1, 300, 2, 128, 128}, Setting{1, 65, 1, 100, 128}, Setting{40, 300, 4, 128, 128}})
    check_setting(setting, DType::bfloat16, {6e-3, 1.5e-2, 6e-3});
  for (const double lambda0 : {0.01, 0.1, 1.0})
    for (const char* keys : {"positive", "signed", "repeated", "zero", "large"}) {
      check_setting({1, 2048, 2, 64, 64, lambda0, keys}, DType::bfloat16, {6e-3, 1.5e-2, 6e-3});
      check_setting({1, 512, 1, 128, 128, lambda0, keys}, DType::bfloat16, {6e-3, 1.5e-2, 6e-3});
    }
}

BOOST_AUTO_TEST_CASE(float32_agrees_with_float64, NEEDS_CUDA) {
  for (const Setting& setting : kShapes) check_setting(setting, DType::float32, {1e-5, 1e-4, 1e-5});
  for (const double lambda0 : {0.01, 0.1, 1.0})
    for (const char* keys : {"positive", "signed", "repeated", "zero", "large"})
      check_setting({1, 2048, 2, 64, 64, lambda0, keys}, DType::float32,
                    lambda0 < 0.1 ? Allowed{1e-4, 1e-3, 1e-4} : Allowed{1e-5, 1e-4, 1e-5});
}

// M's condition number is sum of beta / lambda0 of one key. o and S are wrong by float32's rounding
// times that, because tokens are summed in float32 within a chunk; gradients by the rounding of y
// and h, which have two parts for bfloat16, and of their sums. Never by as much as 0 would be.
BOOST_AUTO_TEST_CASE(few_different_keys, NEEDS_CUDA) {
  for (const Index time : {1024, 32768})
    for (const double lambda0 : {0.01, 0.1, 1.0})
      for (const auto& [keys, different] : {std::pair("one", 1), {"four", 4}, {"eight", 8}}) {
        const double condition = 0.5 * time / different / lambda0;
        const double wide = condition * 0x1p-24, narrow = condition * 0x1p-17;
        const auto at_most = [](double error) { return std::min(error, 0.9); };
        check_setting(
            {1, time, 1, 64, 64, lambda0, keys}, DType::bfloat16,
            {6e-3 + 0.5 * wide, at_most(1.5e-2 + 0.15 * narrow), at_most(6e-3 + 8 * wide)});
        check_setting({1, time, 1, 64, 64, lambda0, keys}, DType::float32,
                      {1e-5 + wide, at_most(1e-4 + 15 * wide), at_most(1e-5 + 8 * wide)});
      }
}

// The composed form, whose delta rule scans one long head in two levels.
BOOST_AUTO_TEST_CASE(the_composed_form_agrees_too, NEEDS_CUDA) {
  const Setting setting{1, 4096, 1, 64, 64, 0.1, "repeated"};
  const std::vector<Tensor> in = numbers(setting, DType::float32);
  const auto composed = [](const LeastSquaresInputs& inputs) {
    return composed_least_squares(inputs);
  };
  const auto here = results(in, DType::float64, {}, composed);
  const auto there = results(in, DType::float32, kCuda, composed);
  for (std::size_t i = 0; i < here.size(); ++i)
    BOOST_TEST(relative_difference(there[i], here[i]) <= (i == 0 || i >= 6 ? 1e-5 : 1e-4),
               kNames[i] << " " << relative_difference(there[i], here[i]));
}

BOOST_AUTO_TEST_CASE(without_a_tape_the_same_bits, NEEDS_CUDA) {
  const std::vector<Tensor> in = numbers({2, 500, 2, 64, 64}, DType::bfloat16);
  std::vector<Var> inputs;
  for (std::size_t i = 0; i < 5; ++i)
    inputs.push_back(Var::parameter(in[i].to(i < 3 ? DType::bfloat16 : DType::float32).to(kCuda)));
  const auto run = [&] {
    return recursive_least_squares({inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]});
  };
  const LeastSquaresResult without = run();
  Tape tape;
  const LeastSquaresResult with = run();
  BOOST_TEST(relative_difference(without.output.value(), with.output.value()) == 0);
  BOOST_TEST(relative_difference(without.memory, with.memory) == 0);
  BOOST_TEST(relative_difference(without.penalty, with.penalty) == 0);
}

BOOST_AUTO_TEST_CASE(wrong_values_are_reported, NEEDS_CUDA) {
  const Setting setting{1, 150, 2, 32, 32};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  // At token 70 of the second head, or lambda0 of the second head.
  const auto message = [&](std::size_t input, double value) -> std::string {
    std::vector<Tensor> in = numbers(setting, DType::float64);
    const Index row = 70 * setting.heads + 1;
    in[input].mutable_data<double>()[input == 4 ? 1 : input == 3 ? row : row * setting.key] = value;
    return error_of([&] {
      results(in, DType::float32, kCuda,
              [](const LeastSquaresInputs& inputs) { return recursive_least_squares(inputs); });
    });
  };
  check_contains(message(1, nan), "the direction of sequence 0, head 1 at token 70 is not finite");
  check_contains(message(3, -1), "weight -1 of sequence 0, head 1 at token 70");
  check_contains(message(3, nan), "of sequence 0, head 1 at token 70");
  check_contains(message(4, -1), "lambda0 of head 1 is -1");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
