// The published recurrence with its stabilisers, against the same maths composed of primitive ops.
// The golden cases reach few of the stabilisers; here each is made to happen, and seen to.

#include <functional>

#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "models/vla/stabilized_recurrence.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

struct Setting {
  Index batch = 2, time = 9, heads = 2, directions = 1, key = 4, value = 3;
  bool symbolic = false;
  double key_scale = 0.5, value_scale = 1, direction_scale = 0.5;
  Tensor initial_inverse = {}, initial_memory = {};
  Index updates = 0;
};

struct Outcome {
  std::vector<Tensor> values;     // output, A, S
  std::vector<Tensor> gradients;  // of q, k, v, u and the symbolic direction
};

using Recurrence =
    std::function<StabilizedResult(const StabilizedInputs&, const StabilizedOptions&)>;

Outcome run(const Recurrence& recurrence, const Setting& s, const StabilizedOptions& options) {
  Rng rng(31);
  const Shape keys{s.batch, s.time, s.heads, s.key}, values{s.batch, s.time, s.heads, s.value};
  const auto leaf = [&](const Shape& shape, double scale) {
    return Var::parameter(rng.normal(shape, DType::float64, 0, scale));
  };
  StabilizedInputs in{
      .query = leaf(keys, 1),
      .key = leaf(keys, s.key_scale),
      .value = leaf(values, s.value_scale),
      .directions = leaf({s.batch, s.time, s.heads, s.directions, s.key}, s.direction_scale)};
  if (s.time > 2) {  // a token whose key and directions are zero
    for (Var* x : {&in.key, &in.directions}) {
      const Index row = x->value().elements() / (s.batch * s.time);
      for (Index i = 0; i < row; ++i)
        x->mutable_value().mutable_values<double>()[static_cast<std::size_t>(row + i)] = 0;
    }
  }
  if (s.symbolic) {
    in.symbolic = leaf(keys, 0.5);
    in.active = Tensor::full({s.batch, s.time}, 1, DType::uint8);
    for (Index t = 0; t < s.time; t += 3) in.active.mutable_data<std::uint8_t>()[t] = 0;
  }
  in.initial_inverse = s.initial_inverse;
  in.initial_memory = s.initial_memory;
  in.updates = s.updates;

  Tape tape;
  const StabilizedResult result = recurrence(in, options);
  Outcome outcome{{result.output.value(), result.inverse, result.memory}, {}};
  if (s.time == 0) return outcome;
  const Gradients gradients =
      tape.backward(result.output, rng.normal(result.output.shape(), DType::float64));
  for (const Var& x : {in.query, in.key, in.value, in.directions, in.symbolic}) {
    if (!x.defined()) continue;
    const Tensor* gradient = gradients.find(x);
    outcome.gradients.push_back(gradient ? *gradient : Tensor::zeros(x.shape(), DType::float64));
  }
  return outcome;
}

Outcome operator_outcome(const Setting& s, const StabilizedOptions& o) {
  return run([](const auto& in, const auto& options) { return stabilized_recurrence(in, options); },
             s, o);
}

void compare(const Setting& s, const StabilizedOptions& o, double tolerance = 1e-9) {
  const Outcome actual = operator_outcome(s, o);
  const Outcome reference = run(composed_stabilized_recurrence, s, o);
  for (std::size_t i = 0; i < actual.values.size(); ++i)
    BOOST_TEST_CONTEXT("value " << i) check_close(actual.values[i], reference.values[i], tolerance);
  for (std::size_t i = 0; i < actual.gradients.size(); ++i) BOOST_TEST_CONTEXT("gradient " << i)
  check_close(actual.gradients[i], reference.gradients[i], tolerance);
}

// That `with` is not what happens `without`: the stabiliser under test did something.
void differ(const Setting& s, const StabilizedOptions& with, const StabilizedOptions& without) {
  BOOST_TEST(relative_difference(operator_outcome(s, with).values[0],
                                 operator_outcome(s, without).values[0]) > 1e-9);
}

const StabilizedOptions kPlain{.nudge_period = 0, .error_clip = 0, .guard_above = 0};

// Matrices factor * I (B, H, n, n).
Tensor scaled_identity(const Setting& s, double factor) {
  Tensor result = Tensor::zeros({s.batch, s.heads, s.key, s.key}, DType::float64);
  for (Index i = 0; i < s.batch * s.heads * s.key; ++i)
    result.mutable_values<double>()[static_cast<std::size_t>(i / s.key * s.key * s.key +
                                                             i % s.key * (s.key + 1))] = factor;
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stabilized)

BOOST_AUTO_TEST_CASE(plain_recurrence) {
  for (Index time : {0, 1, 15, 16, 17, 37})
    BOOST_TEST_CONTEXT("T " << time) compare({.time = time}, kPlain);
}

BOOST_AUTO_TEST_CASE(widths_and_ranks) {
  compare({.batch = 1, .time = 3, .heads = 1, .key = 1, .value = 1}, kPlain);
  for (Index rank : {0, 1, 3}) compare({.directions = rank}, kPlain);
  compare({.time = 6, .key = 9, .value = 17}, kPlain);
}

BOOST_AUTO_TEST_CASE(unit_coefficient_and_plain_read_out) {
  StabilizedOptions o = kPlain;
  o.unit_coefficient = true;
  o.read_through_inverse = false;
  o.unit_floor = 1e-2;  // the token with a zero key is below it
  compare({}, o);
  o.unit_floor = 0.4;  // and so are others
  compare({}, o);
}

BOOST_AUTO_TEST_CASE(error_clip) {
  StabilizedOptions o = kPlain;
  o.error_clip = 1.5;
  compare({}, o);
  differ({}, o, kPlain);
}

BOOST_AUTO_TEST_CASE(renormalisation) {
  StabilizedOptions o = kPlain;
  o.renormalize_above = 0.5;
  compare({}, o);
  differ({}, o, kPlain);
}

BOOST_AUTO_TEST_CASE(norm_guard) {
  StabilizedOptions o = kPlain;
  o.guard = 0.1;
  o.guard_above = 1;  // |A| is above it from the start
  compare({}, o);
  differ({}, o, kPlain);
  o.guard_above = 2.2;  // |A| = 2 is below, |S| rises above it later
  compare({.value_scale = 4}, o);
  differ({.value_scale = 4}, o, kPlain);
}

BOOST_AUTO_TEST_CASE(nudge_counts_updates_not_directions) {
  StabilizedOptions o = kPlain;
  o.nudge = 0.1;
  o.nudge_period = 2;
  for (Index rank : {0, 1, 3}) {
    compare({.directions = rank}, o);
    differ({.directions = rank}, o, kPlain);
  }
  // With one update a token, the nudges come at tokens 1, 3, ...; a count carried over moves them.
  Setting carried;
  carried.updates = 1;
  compare(carried, o);
  BOOST_TEST(relative_difference(operator_outcome(carried, o).values[0],
                                 operator_outcome({}, o).values[0]) > 1e-9);
}

BOOST_AUTO_TEST_CASE(a_symbolic_direction_is_an_update_of_its_own) {
  StabilizedOptions o = kPlain;
  compare({.directions = 2, .symbolic = true}, o);
  o.nudge = 0.1;
  for (Index period : {1, 2, 3}) {
    o.nudge_period = period;
    compare({.directions = 2, .symbolic = true}, o);
  }
}

// While A is positive definite delta is at least 1; an A that is not has to be put there.
BOOST_AUTO_TEST_CASE(delta_clamp_and_fallback) {
  Setting s{.time = 3, .directions = 1, .key = 2, .value = 2};
  StabilizedOptions o = kPlain;
  o.delta_floor = 0.5;
  s.initial_inverse = scaled_identity(s, -1);
  s.direction_scale = 0.6;
  compare(s, o);
  StabilizedOptions lower = o;
  lower.delta_floor = 1e-4;
  differ(s, o, lower);  // some delta was below 0.5
  compare(s, lower);    // the constant of version 3: A' is then some -1e4 z z^T

  StabilizedOptions falls = o;
  falls.fallback_below = 0.3;
  compare(s, falls);
  differ(s, falls, o);  // some |delta| was below 0.3
}

BOOST_AUTO_TEST_CASE(a_state_can_be_carried_over) {
  Setting s;
  s.initial_inverse = scaled_identity(s, 0.7);
  Rng rng(2);
  s.initial_memory = rng.normal({s.batch, s.heads, s.value, s.key}, DType::float64);
  compare(s, {});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
