// The delta rule on the tensor cores, against the definition in float64 on the CPU: the same
// numbers as they are in bfloat16 or float32, outputs and every gradient.

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "models/delta_rule.hpp"
#include "models/delta_rule_cuda.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"

namespace vla {
namespace {

enum class Keys { unit, few, one, zero_rows };

struct Setting {
  Index batch = 2, time = 200, heads = 3, key = 64, value = 64;
  bool has_key = true, has_state = false;
  Keys keys = Keys::unit;
};

std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << "B " << s.batch << ", T " << s.time << ", H " << s.heads << ", d " << s.key
             << ", d_v " << s.value << (s.has_key ? "" : ", no key")
             << (s.has_state ? ", initial state" : "") << ", keys " << int(s.keys);
}

// q, k, alpha, v, and perhaps S_0, then the weights of o and of the final state in the loss.
std::vector<Tensor> inputs_of(const Setting& s) {
  Rng rng(7);
  const Shape keys{s.batch, s.time, s.heads, s.key}, values{s.batch, s.time, s.heads, s.value};
  const Shape states{s.batch, s.heads, s.value, s.key};
  const auto unit_rows = [](const Tensor& x) { return unit(Var(x)).value(); };
  Tensor k = unit_rows(rng.normal(keys, DType::float64));
  Tensor beta = rng.uniform({s.batch, s.time, s.heads, 1}, DType::float64, 0, 1);
  const Index row = s.heads * s.key, different = s.keys == Keys::few ? 4 : 1;
  auto elements = k.mutable_values<double>();
  for (Index b = 0; b < s.batch; ++b)
    for (Index t = 0; t < s.time; ++t)
      for (Index i = 0; i < row; ++i) {
        double& x = elements[static_cast<std::size_t>((b * s.time + t) * row + i)];
        if (s.keys == Keys::few || s.keys == Keys::one)
          x = elements[static_cast<std::size_t>((b * s.time + t % different) * row + i)];
        if (s.keys == Keys::zero_rows && t % 3 == 1) x = 0;
      }
  return {unit_rows(rng.normal(keys, DType::float64)),
          k,
          mul(Var(k), Var(beta)).value(),
          rng.normal(values, DType::float64),
          rng.normal(states, DType::float64),
          rng.normal(values, DType::float64),
          rng.normal(states, DType::float64, 0, 0.3)};
}

// o and the final state, then the gradients, all on the CPU.
std::vector<Tensor> results(const Setting& s, const std::vector<Tensor>& inputs, Device device,
                            OperatorForm form) {
  std::vector<Var> v;
  for (const Tensor& input : inputs) v.push_back(Var::parameter(input.to(device)));
  DeltaRuleInputs in{.query = v[0], .coefficient = v[2], .value = v[3]};
  if (s.has_key) in.key = v[1];
  if (s.has_state) in.initial_state = v[4];
  Tape tape;
  const DeltaRuleResult result = delta_rule(in, {.form = form});
  const DType dtype = result.final_state.dtype();
  const Var loss = sum(cast(result.output, dtype) * cast(v[5], dtype)) +
                   sum(result.final_state * cast(v[6], dtype));
  const Gradients gradients = tape.backward(loss);
  std::vector<Tensor> all{result.output.value().to(Device{}),
                          result.final_state.value().to(Device{})};
  for (const Var* part : {&in.query, &in.key, &in.coefficient, &in.value, &in.initial_state})
    if (part->defined()) all.push_back(gradients[*part].to(Device{}));
  return all;
}

struct Tolerance {
  double result, gradient;
};
constexpr Tolerance kFloat32{1e-5, 1e-4}, kBFloat16{6e-3, 1.5e-2};

void check_setting(const Setting& s, DType dtype) {
  BOOST_TEST_CONTEXT(dtype << ", " << s) {
    std::vector<Tensor> narrow, wide;
    for (const Tensor& x : inputs_of(s)) {
      narrow.push_back(x.to(dtype));
      wide.push_back(narrow.back().to(DType::float64));
    }
    const auto there = results(s, narrow, kCuda, OperatorForm::chunk);
    const auto reference = results(s, wide, {}, OperatorForm::step);
    const Tolerance allowed = dtype == DType::float32 ? kFloat32 : kBFloat16;
    BOOST_REQUIRE(there.size() == reference.size());
    std::string errors;
    for (std::size_t i = 0; i < there.size(); ++i) {
      const double error = relative_difference(there[i].to(DType::float64), reference[i]);
      char text[32];
      std::snprintf(text, sizeof text, " %.1e", error);
      errors += text;
      BOOST_TEST(error <= (i < 2 ? allowed.result : allowed.gradient),
                 "result " << i << ": " << error);
    }
    BOOST_TEST_MESSAGE(dtype << ", " << s << ":" << errors);
    BOOST_TEST(there[0].dtype() == dtype);
    BOOST_TEST(there[1].dtype() == DType::float32);
  }
}

void check_both(const Setting& s) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) check_setting(s, dtype);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_delta_rule)

BOOST_AUTO_TEST_CASE(widths, NEEDS_CUDA) {
  for (const Index width : {16, 32, 64, 128, 24, 5, 100})
    check_both({.time = 150, .key = width, .value = width, .has_state = true});
  check_both({.time = 150, .key = 64, .value = 32});
  check_both({.time = 150, .key = 16, .value = 128, .has_state = true});
  check_both({.time = 150, .key = 128, .value = 10});
}

BOOST_AUTO_TEST_CASE(lengths, NEEDS_CUDA) {
  for (const Index time : {0, 1, 9, 63, 64, 65, 200, 1000})
    check_both({.batch = 1, .time = time, .heads = 2, .key = 32, .value = 32, .has_state = true});
}

BOOST_AUTO_TEST_CASE(without_a_key, NEEDS_CUDA) {
  for (const Index time : {65, 200})
    for (const bool state : {false, true})
      check_both({.time = time, .has_key = false, .has_state = state});
}

BOOST_AUTO_TEST_CASE(keys_that_come_again, NEEDS_CUDA) {
  for (const Keys keys : {Keys::few, Keys::one, Keys::zero_rows})
    check_both({.batch = 1, .heads = 2, .has_state = true, .keys = keys});
}

BOOST_AUTO_TEST_CASE(long_sequences, NEEDS_CUDA) {
  for (const Keys keys : {Keys::unit, Keys::few})
    check_both({.batch = 1, .time = 4096, .heads = 1, .keys = keys});
  check_both({.batch = 1, .time = 4000, .heads = 1, .key = 128, .value = 128, .has_state = true});
  check_both({.batch = 1, .time = 5000, .heads = 2, .key = 33, .value = 70, .has_state = true});
  check_both({.batch = 1, .time = 5000, .heads = 2, .has_key = false, .has_state = true});
}

BOOST_AUTO_TEST_CASE(many_heads, NEEDS_CUDA) {
  check_both({.batch = 20, .time = 70, .heads = 20, .key = 32, .value = 64});
}

BOOST_AUTO_TEST_CASE(the_same_bits_every_time, NEEDS_CUDA) {
  for (const Setting& s : {Setting{.time = 300, .has_state = true},
                           Setting{.batch = 1, .time = 4096, .heads = 1, .has_state = true}}) {
    std::vector<Tensor> inputs;
    for (const Tensor& x : inputs_of(s)) inputs.push_back(x.to(DType::bfloat16));
    const auto once = results(s, inputs, kCuda, OperatorForm::chunk);
    const auto again = results(s, inputs, kCuda, OperatorForm::chunk);
    for (std::size_t i = 0; i < once.size(); ++i)
      BOOST_TEST(relative_difference(once[i].to(DType::float64), again[i].to(DType::float64)) == 0);
  }
}

BOOST_AUTO_TEST_CASE(an_initial_state_in_float32_beside_bfloat16, NEEDS_CUDA) {
  const Setting s{.time = 70, .heads = 1, .has_state = true};
  std::vector<Tensor> inputs;
  for (const Tensor& x : inputs_of(s)) inputs.push_back(x.to(DType::bfloat16));
  const auto narrow = results(s, inputs, kCuda, OperatorForm::chunk);
  inputs[4] = inputs[4].to(DType::float32);
  const auto wide = results(s, inputs, kCuda, OperatorForm::chunk);
  BOOST_TEST(narrow.back().dtype() == DType::bfloat16);
  BOOST_TEST(wide.back().dtype() == DType::float32);
  check_close(narrow[0].to(DType::float64), wide[0].to(DType::float64), 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
