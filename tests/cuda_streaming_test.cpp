// Steps of recursive least squares, and exact VLA that streams, on CUDA against the CPU.

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
  const char* keys = "positive";  // or "signed", "repeated", "zero"
};

std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << "B " << s.batch << ", T " << s.time << ", H " << s.heads << ", d " << s.key
             << ", d_v " << s.value << ", " << s.keys << " keys";
}

// q, k, v, beta and lambda0 in float64 numbers that `dtype` has.
std::vector<Tensor> numbers(const Setting& s, DType dtype) {
  Rng rng(21);
  const std::string_view keys = s.keys;
  const auto units = [&] {
    const Var x(rng.normal({s.batch, s.time, s.heads, s.key}, DType::float64));
    return unit(keys == "signed" ? x : elu_plus_one(x), 1e-6).value().clone();
  };
  Tensor k = units(), q = units();
  const Index token = s.heads * s.key;
  if (keys == "repeated" || keys == "zero")
    for (Index i = token; i < k.elements(); ++i) {
      double* numbers = k.mutable_data<double>();
      if (keys == "zero" && i / token % 3 == 0) numbers[i] = 0;
      if (keys == "repeated" && i / token % 2 == 1) numbers[i] = numbers[i - token];
    }
  Tensor beta = sigmoid(Var(rng.normal({s.batch, s.time, s.heads}, DType::float64))).value();
  if (keys == "zero")
    for (Index i = 0; i < beta.elements(); i += 5) beta.mutable_data<double>()[i] = 0;
  const Tensor v = rng.normal({s.batch, s.time, s.heads, s.value}, DType::float64);
  std::vector<Tensor> all{q, k, v, beta, Tensor::full({s.heads}, 0.1, DType::float64)};
  for (Tensor& x : all) x = x.to(dtype).to(DType::float64);
  return all;
}

LeastSquaresInputs inputs_of(const std::vector<Tensor>& numbers, DType dtype, Device device,
                             Index begin, Index end) {
  const auto part = [&](std::size_t i) {
    return Var(slice(Var(numbers[i]), 1, begin, end).value().to(dtype).to(device));
  };
  return {part(0), part(1), part(2), part(3), Var(numbers[4].to(dtype).to(device))};
}

Tensor on_cpu(const Tensor& x) { return x.to(Device{}).to(DType::float64); }

// Blocks of 1, of `most`, or of 1, 2, ... most tokens.
void check_steps(const Setting& s, DType dtype, bool growing, Index most, double tolerance) {
  const std::vector<Tensor> all = numbers(s, dtype);
  const LeastSquaresResult whole =
      composed_least_squares(inputs_of(all, DType::float64, {}, 0, s.time));
  LeastSquaresState state;
  std::vector<Var> outputs;
  for (Index begin = 0, size = growing ? 1 : most; begin < s.time;) {
    const Index end = std::min(begin + size, s.time);
    const LeastSquaresSteps steps =
        least_squares_steps(inputs_of(all, dtype, kCuda, begin, end), state);
    outputs.push_back(Var(steps.output));
    state = steps.state;
    begin = end;
    if (growing) size = size % most + 1;
  }
  BOOST_TEST(state.tokens == s.time);
  const double o = relative_difference(concat(outputs, 1).value(), whole.output.value());
  const double memory = relative_difference(state.memory, whole.memory);
  const double penalty = relative_difference(unpack(state.penalty), whole.penalty);
  std::ostringstream found;
  found << dtype << ", " << s << ", blocks of " << (growing ? "up to " : "") << most << ": o " << o
        << ", S " << memory << ", M " << penalty;
  BOOST_TEST_MESSAGE(found.str());
  BOOST_TEST(o <= tolerance, found.str());
  BOOST_TEST(memory <= 2e-5, found.str());
  BOOST_TEST(penalty <= 1e-6, found.str());
}

const std::vector<Setting> kSettings{
    {2, 200, 2, 64, 64},
    {2, 200, 2, 64, 64, "signed"},
    {2, 200, 2, 64, 64, "repeated"},
    {2, 200, 2, 64, 64, "zero"},
    {1, 200, 2, 16, 16},
    {1, 200, 1, 32, 64},
    {2, 70, 2, 33, 7},
    {1, 140, 1, 128, 128},
    {1, 140, 2, 128, 128, "zero"},
    {1, 130, 1, 100, 128},
    {2, 70, 1, 64, 32},
    {3, 20, 2, 1, 1},
};

constexpr Index kWidth = 128, kBatch = 3;

// The same layer on both devices.
struct Twins {
  std::unique_ptr<Vla> cpu, cuda;

  Twins() {
    const auto make = [] {
      Rng rng(5);
      return std::make_unique<Vla>(
          VlaOptions{.attention = {.width = kWidth, .heads = 4, .dtype = DType::float32}}, rng);
    };
    cpu = make();
    cuda = make();
    move_to(*cuda, kCuda);
  }
};

struct Stretch {
  Index tokens, block;
  bool on_cuda = true;
};

// Both streams over these stretches agree in outputs and in the states at their ends.
void check_stream(const std::vector<Stretch>& stretches) {
  Twins twins;
  Rng rng(6);
  StreamState here, there;
  for (const Stretch& stretch : stretches)
    for (Index begin = 0; begin < stretch.tokens; begin += stretch.block) {
      const Index size = std::min(stretch.block, stretch.tokens - begin);
      const Var x(rng.normal({kBatch, size, kWidth}, DType::float32));
      const Tensor reference = twins.cpu->stream(x, here).value();
      const Tensor y = stretch.on_cuda ? twins.cuda->stream(Var(x.value().to(kCuda)), there).value()
                                       : twins.cpu->stream(x, there).value();
      BOOST_TEST_CONTEXT("blocks of " << stretch.block << " after " << here.tokens << " tokens")
      BOOST_TEST(relative_difference(y, reference) <= 1e-4);
      const bool steps = stretch.on_cuda && size <= kFewTokens;
      BOOST_TEST(there.parts.contains("packed") == steps);
      BOOST_TEST(there.parts.contains("kept") == !steps);
    }
  const auto penalty = [](const StreamState& state) {
    if (!state.parts.contains("packed")) return state.parts.at("penalty");
    return unpack(
        {state.parts.at("penalty"), state.parts.at("packed"), state.parts.at("diagonal")});
  };
  BOOST_TEST(relative_difference(penalty(there), penalty(here)) <= 1e-5);
  BOOST_TEST(relative_difference(there.parts.at("memory"), here.parts.at("memory")) <= 1e-4);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_streaming)

BOOST_AUTO_TEST_CASE(steps_agree_with_float64, NEEDS_CUDA) {
  for (const Setting& setting : kSettings) {
    check_steps(setting, DType::float32, false, 1, 2e-5);
    check_steps(setting, DType::float32, true, kFewTokens, 2e-5);
    check_steps(setting, DType::bfloat16, false, 1, 6e-3);
    check_steps(setting, DType::bfloat16, false, 5, 6e-3);
  }
}

BOOST_AUTO_TEST_CASE(long_sequences_by_step, NEEDS_CUDA) {
  for (const char* keys : {"positive", "signed", "repeated", "zero"})
    check_steps({1, 2000, 2, 64, 64, keys}, DType::float32, false, 7, 1e-4);
}

// What comes again and again is rounded the same way every time: that must not outgrow lambda0.
BOOST_AUTO_TEST_CASE(the_same_few_tokens_for_ever, NEEDS_CUDA) {
  const std::vector<Tensor> all = numbers({8, 8, 4, 64, 64}, DType::bfloat16);
  const LeastSquaresInputs inputs = inputs_of(all, DType::bfloat16, kCuda, 0, 8);
  const LeastSquaresInputs exact = inputs_of(all, DType::float64, {}, 0, 8);
  LeastSquaresState state;
  for (int i = 0; i < 3000; ++i) state = least_squares_steps(inputs, state).state;
  const Var u = exact.key * reshape(Var(Tensor(exact.weight.value())), {8, 8, 4, 1});
  const Var k = permute(exact.key, {0, 2, 1, 3});
  Tensor penalty = matmul(permute(u, {0, 2, 1, 3}), k, {.transpose_a = true}).value().clone();
  for (double& x : penalty.mutable_values<double>()) x *= 3000;
  for (Index i = 0; i < 8 * 4 * 64; ++i)
    penalty.mutable_data<double>()[i * 64 + i % 64] += exact.lambda0.value().data<double>()[0];
  BOOST_TEST(relative_difference(unpack(state.penalty), penalty) <= 1e-5);
  const Tensor o = least_squares_steps(inputs, state).output;
  const Tensor here = on_cpu(o);
  for (const double x : here.values<double>()) BOOST_TEST_REQUIRE(std::isfinite(x));
}

BOOST_AUTO_TEST_CASE(a_weight_may_be_wider_than_the_keys, NEEDS_CUDA) {
  const std::vector<Tensor> all = numbers({2, 4, 2, 64, 64}, DType::bfloat16);
  LeastSquaresInputs inputs = inputs_of(all, DType::bfloat16, kCuda, 0, 4);
  const Tensor narrow = least_squares_steps(inputs, {}).output;
  inputs.weight = Var(inputs.weight.value().to(DType::float32));
  check_close(on_cpu(least_squares_steps(inputs, {}).output), on_cpu(narrow), 0);
}

BOOST_AUTO_TEST_CASE(a_packed_penalty_comes_back, NEEDS_CUDA) {
  for (const Index d : {1, 5, 32, 48, 64, 100, 128}) {
    Rng rng(3);
    const Var x(rng.normal({2, 3, 2 * d, d}, DType::float64));
    const Tensor penalty = matmul(x, x, {.transpose_a = true}).value().to(DType::float32);
    const Tensor exact = penalty.to(DType::float64);
    const PackedPenalty packed = pack(exact.to(kCuda));
    BOOST_TEST_CONTEXT("d " << d) {
      check_close(on_cpu(unpack(packed)), exact, 0);
      check_close(unpack({exact, packed.matrix.to(Device{}), packed.diagonal.to(Device{})}), exact,
                  0);
      Tensor inverse = on_cpu(packed.matrix);
      double* a = inverse.mutable_data<double>();
      for (Index i = 0; i < inverse.elements(); ++i) {
        const Index row = i / d % d, column = i % d;
        if (column > row) a[i] = a[i - column - row * d + column * d + row];
      }
      Tensor identity = Tensor::zeros(exact.shape(), DType::float64);
      for (Index i = 0; i < 6 * d; ++i) identity.mutable_data<double>()[i * d + i % d] = 1;
      check_close(matmul(Var(inverse), Var(exact)).value(), identity, 1e-4);
    }
  }
}

BOOST_AUTO_TEST_CASE(streams_by_step_and_by_chunk_follow_each_other, NEEDS_CUDA) {
  check_stream({{20, 1}});
  check_stream({{100, 100}, {50, 1}, {20, 20}, {30, 1}, {36, 4}, {9, 9}, {10, 3}});
  check_stream({{3, 3}, {20, 20}, {70, 7}, {64, 64}, {1, 1}});
}

BOOST_AUTO_TEST_CASE(streams_move_between_devices, NEEDS_CUDA) {
  const bool cpu = false;
  check_stream({{100, 100}, {30, 1}, {10, 1, cpu}, {20, 20, cpu}, {10, 1}, {3, 3, cpu}, {20, 20}});
  check_stream({{30, 30, cpu}, {70, 1}, {20, 20, cpu}, {5, 5}});
  check_stream({{5, 1, cpu}, {5, 1}, {5, 1, cpu}});
}

BOOST_AUTO_TEST_CASE(copies_of_a_state_go_on_by_themselves, NEEDS_CUDA) {
  Twins twins;
  Rng rng(8);
  const auto block = [&] { return Var(rng.normal({kBatch, 1, kWidth}, DType::float32).to(kCuda)); };
  StreamState state;
  twins.cuda->stream(block(), state);
  const Var x = block();
  StreamState copy = state;
  const Tensor first = on_cpu(twins.cuda->stream(x, state).value());
  check_close(on_cpu(twins.cuda->stream(x, copy).value()), first, 0);
}

BOOST_AUTO_TEST_CASE(what_is_recorded_goes_by_two_operators, NEEDS_CUDA) {
  Twins twins;
  Rng rng(9);
  const Tensor x = rng.normal({kBatch, 1, kWidth}, DType::float32).to(kCuda);
  StreamState state;
  twins.cuda->stream(Var(x), state);
  BOOST_TEST(state.parts.contains("packed"));
  Tape tape;
  const Var own = Var::parameter(x);
  const Gradients gradients = tape.backward(sum(square(twins.cuda->stream(own, state))));
  BOOST_TEST(!state.parts.contains("packed"));
  BOOST_TEST(std::isfinite(norm(Var(gradients[own])).value().to(Device{}).item()));
}

BOOST_AUTO_TEST_CASE(bfloat16_streams_by_step, NEEDS_CUDA) {
  Twins twins;
  Rng rng(10);
  StreamState here, there;
  for (int i = 0; i < 70; ++i) {
    const Tensor x = rng.normal({kBatch, i == 0 ? 40 : 1, kWidth}, DType::float32);
    const Tensor reference = twins.cuda->stream(Var(x.to(kCuda)), here).value();
    const Var y = twins.cuda->stream(Var(x.to(DType::bfloat16).to(kCuda)), there);
    BOOST_TEST(relative_difference(y.value(), reference) <= 5e-2);
  }
}

BOOST_AUTO_TEST_CASE(wrong_values_are_reported, NEEDS_CUDA) {
  const auto message = [](auto spoil) {
    std::vector<Tensor> all = numbers({2, 4, 3, 16, 16}, DType::float32);
    spoil(all);
    return error_of([&] {
      least_squares_steps(inputs_of(all, DType::float32, kCuda, 0, 4), {}).output.to(Device{});
    });
  };
  // Of sequence 1, token 2 and head 1.
  constexpr Index kPlace = (4 + 2) * 3 + 1;
  BOOST_TEST(message([](auto& all) { all[3].template mutable_data<double>()[kPlace] = -0.5; }) ==
             "inverse penalty: weight -0.5 of sequence 1, head 1 at token 2; 0 or more is needed");
  BOOST_TEST(
      message([](auto& all) { all[1].template mutable_data<double>()[16 * kPlace] = 1e30; }) ==
      "inverse penalty: M of sequence 1, head 1 at token 2 is not positive definite or not finite");
  BOOST_TEST(message([](auto& all) { all[4].template mutable_data<double>()[1] = 0; }) ==
             "inverse penalty: lambda0 of head 1 is 0; a positive number is needed");
  BOOST_TEST(message([](auto&) {}) == "accepted");
}

BOOST_AUTO_TEST_CASE(steps_say_what_they_do_not_take, NEEDS_CUDA) {
  const auto has = [](const Setting& setting, DType dtype, Device device) {
    const std::vector<Tensor> all = numbers(setting, dtype);
    return has_least_squares_steps(inputs_of(all, dtype, device, 0, setting.time));
  };
  BOOST_TEST(has({1, 8, 1, 128, 128}, DType::bfloat16, kCuda));
  BOOST_TEST(!has({1, 9, 1, 16, 16}, DType::float32, kCuda));
  BOOST_TEST(!has({1, 1, 1, 129, 16}, DType::float32, kCuda));
  BOOST_TEST(!has({1, 1, 1, 16, 129}, DType::float32, kCuda));
  BOOST_TEST(!has({1, 1, 1, 16, 16}, DType::float64, kCuda));
  BOOST_TEST(!has({1, 1, 1, 16, 16}, DType::float32, {}));
  const std::vector<Tensor> all = numbers({1, 2, 1, 16, 16}, DType::float32);
  const LeastSquaresInputs inputs = inputs_of(all, DType::float32, kCuda, 0, 2);
  LeastSquaresState state = least_squares_steps(inputs, {}).state;
  state.tokens = 0;
  BOOST_CHECK_EXCEPTION(least_squares_steps(inputs, state), Error,
                        says("least_squares_steps: 0 tokens before, and initial state"));
  state.tokens = 2;
  state.memory = state.memory.to(Device{});
  BOOST_CHECK_EXCEPTION(
      least_squares_steps(inputs, state), Error,
      says("least_squares_steps: the initial state has float32 (1, 1, 16, 16) on cpu where float32 "
           "(1, 1, 16, 16) on cuda:0 is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
