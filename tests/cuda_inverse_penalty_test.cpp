// The inverse penalty's kernels on tensor cores against float64 on the CPU, on the same numbers.

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/inverse_penalty_cuda.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

struct Setting {
  Index batch, time, heads, width;
  double lambda0 = 0.1;
  const char* keys = "positive";  // or "signed", "repeated", "zero"
  bool weights = true;
  bool own = false;  // x and the directions are the same variable
};

std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << "B " << s.batch << ", T " << s.time << ", H " << s.heads << ", d " << s.width
             << ", lambda0 " << s.lambda0 << ", " << s.keys << " keys"
             << (s.weights ? "" : ", no weights") << (s.own ? ", x = u" : "");
}

struct Named {
  const char* name;
  Tensor value;
};

// x, u, weights, lambda0 and the upstream gradient, in float64 numbers that `dtype` has.
std::vector<Tensor> numbers(const Setting& s, DType dtype) {
  Rng rng(12);
  const std::string_view keys = s.keys;
  const auto units = [&](bool repeated) {
    Var x(rng.normal({s.batch, s.time, s.heads, s.width}, DType::float64));
    if (keys != "signed") x = elu_plus_one(x);
    x = unit(x, 1e-6);
    if (repeated) x = concat(std::vector<Var>(4, slice(x, 1, 0, (s.time + 3) / 4)), 1);
    if (repeated) x = slice(x, 1, 0, s.time);
    return x.value().clone();
  };
  Tensor u = units(keys == "repeated"), x = units(false);
  if (keys == "zero")
    for (Index i = 0; i < u.elements(); ++i)
      if (i / (s.width * s.heads) % 3 == 0) u.mutable_data<double>()[i] = 0;
  Tensor weights =
      sigmoid(Var(rng.normal({s.batch, s.time, s.heads}, DType::float64))).value().clone();
  if (keys == "zero") weights.mutable_data<double>()[4] = 0;
  std::vector<Tensor> all{x, u, weights, Tensor::full({s.heads}, s.lambda0, DType::float64),
                          rng.normal(x.shape(), DType::float64)};
  for (Tensor& each : all) each = each.to(dtype).to(DType::float64);
  return all;
}

std::vector<Named> results(const Setting& s, const std::vector<Tensor>& numbers, DType dtype,
                           Device device) {
  std::vector<Var> in;
  for (std::size_t i = 0; i < 4; ++i) in.push_back(Var::parameter(numbers[i].to(dtype).to(device)));
  Penalty penalty{.directions = in[1], .lambda0 = in[3]};
  if (s.weights) penalty.weights = in[2];
  Tape tape;
  const InversePenaltyResult result = inverse_penalty(s.own ? in[1] : in[0], penalty);
  const Gradients gradients = tape.backward(result.output, numbers[4].to(dtype).to(device));
  std::vector<Named> all{{"y", result.output.value()}, {"M", result.state.penalty}};
  if (!s.own) all.push_back({"dx", *gradients.find(in[0])});
  all.push_back({"du", *gradients.find(in[1])});
  if (s.weights) all.push_back({"dweights", *gradients.find(in[2])});
  all.push_back({"dlambda0", *gradients.find(in[3])});
  for (Named& x : all) x.value = x.value.to(Device{}).to(DType::float64);
  return all;
}

void check_setting(const Setting& setting, DType dtype, double output, double gradient) {
  BOOST_TEST(cuda::tensor_cores_fit_penalty(setting.width, dtype, kCuda));
  const std::vector<Tensor> in = numbers(setting, dtype);
  const auto here = results(setting, in, DType::float64, {});
  const auto there = results(setting, in, dtype, kCuda);
  std::ostringstream found;
  for (std::size_t i = 0; i < here.size(); ++i) {
    const std::string_view name = here[i].name;
    const double error = relative_difference(there[i].value, here[i].value);
    found << name << " " << error << "  ";
    // The gradient of lambda0 is one number, the sum of terms that nearly cancel.
    const double allowed = name == "y"          ? output
                           : name == "M"        ? 1e-6
                           : name == "dlambda0" ? 10 * gradient
                                                : gradient;
    BOOST_TEST(error <= allowed,
               dtype << ", " << setting << ": " << name << " " << error << " > " << allowed);
  }
  BOOST_TEST_MESSAGE(dtype << ", " << setting << ": " << found.str());
}

// With one direction M's condition number is sum of weights / lambda0, so that lambda0 is 1 there.
const std::vector<Setting> kShapes{
    {2, 9, 2, 32},    {1, 63, 2, 64},   {1, 64, 1, 64},
    {2, 65, 2, 64},   {1, 200, 2, 16},  {1, 200, 1, 24},
    {1, 130, 2, 33},  {1, 70, 1, 1, 1}, {1, 9, 1, 1, 1},
    {2, 1000, 3, 64}, {1, 5000, 1, 32}, {3, 3, 2, 32},
    {1, 1000, 1, 64}, {9, 300, 32, 64}, {9, 300, 32, 64, 0.1, "positive", false, true}};

void check_keys(Index time, Index heads, Index width, DType dtype, double output, double gradient,
                double with_small_lambda0) {
  for (const double lambda0 : {0.01, 0.1, 1.0})
    for (const char* keys : {"positive", "signed", "repeated", "zero"}) {
      const double more = lambda0 < 0.1 ? with_small_lambda0 : 1;
      check_setting({1, time, heads, width, lambda0, keys}, dtype, more * output, more * gradient);
      check_setting({1, time / 2 + 1, heads, width, lambda0, keys, false, true}, dtype,
                    more * output, more * gradient);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_inverse_penalty)

BOOST_AUTO_TEST_CASE(bfloat16_agrees_with_float64, NEEDS_CUDA) {
  for (const Setting& setting : kShapes) check_setting(setting, DType::bfloat16, 6e-3, 1.5e-2);
  for (const Setting& setting : {Setting{1, 300, 2, 128}, Setting{1, 65, 1, 100}})
    check_setting(setting, DType::bfloat16, 6e-3, 1.5e-2);
  check_keys(1000, 2, 64, DType::bfloat16, 6e-3, 1.5e-2, 1);
  check_keys(512, 1, 128, DType::bfloat16, 6e-3, 1.5e-2, 1);
}

BOOST_AUTO_TEST_CASE(float32_agrees_with_float64, NEEDS_CUDA) {
  for (const Setting& setting : kShapes) check_setting(setting, DType::float32, 1e-5, 1e-4);
  check_keys(1000, 2, 64, DType::float32, 1e-5, 1e-4, 10);
}

BOOST_AUTO_TEST_CASE(a_sequence_goes_on_from_its_state, NEEDS_CUDA) {
  const Setting setting{2, 200, 2, 64};
  std::vector<Var> in;
  for (const Tensor& x : numbers(setting, DType::float32))
    in.emplace_back(x.to(DType::float32).to(kCuda));
  const auto part = [&](Index begin, Index end, const PenaltyState& state) {
    const auto cut = [&](const Var& x) { return slice(x, 1, begin, end); };
    return inverse_penalty(cut(in[0]),
                           {.directions = cut(in[1]), .weights = cut(in[2]), .lambda0 = in[3]},
                           {.initial = state});
  };
  const InversePenaltyResult whole = part(0, setting.time, {}), first = part(0, 130, {});
  const InversePenaltyResult rest = part(130, setting.time, first.state);
  const Var joined = concat({first.output, rest.output}, 1);
  BOOST_TEST(relative_difference(joined.value(), whole.output.value()) < 1e-5);
  BOOST_TEST(relative_difference(rest.state.penalty, whole.state.penalty) < 1e-6);
  BOOST_TEST(rest.state.tokens == whole.state.tokens);
}

BOOST_AUTO_TEST_CASE(wrong_values_are_reported, NEEDS_CUDA) {
  const Setting setting{1, 100, 2, 32};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto message = [&](std::size_t input, double value) -> std::string {
    std::vector<Tensor> in = numbers(setting, DType::float64);
    in[input].mutable_data<double>()[input == 3 ? 1 : 70] = value;
    return error_of([&] { results(setting, in, DType::float32, kCuda); });
  };
  check_contains(message(0, nan), "the vector");
  check_contains(message(1, nan), "the direction");
  check_contains(message(2, -1), "weight -1");
  check_contains(message(3, -1), "lambda0 of head 1 is -1");
  check_contains(message(4, nan), "the upstream gradient");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
