// Inputs of the stabilised recurrence that tests share, and what it makes of them.
#pragma once

#include <functional>

#include "framework/random.hpp"
#include "models/vla/stabilized_recurrence.hpp"
#include "tests/compare.hpp"

namespace vla {

struct Setting {
  Index batch = 2, time = 9, heads = 2, directions = 1, key = 4, value = 3;
  bool symbolic = false;  // active at other tokens in each sequence
  double key_scale = 0.5, value_scale = 1, direction_scale = 0.5;
  Tensor initial_inverse = {}, initial_memory = {}, initial_updates = {};
  DType dtype = DType::float64;
};

struct RecurrenceOutcome {
  std::vector<Tensor> values;     // output, A, S
  std::vector<Tensor> gradients;  // of q, k, v, u and the symbolic direction
  Tensor updates;
};

using Recurrence =
    std::function<StabilizedResult(const StabilizedInputs&, const StabilizedOptions&)>;

/// Every stabiliser off.
inline const StabilizedOptions kPlain{.nudge_period = 0, .error_clip = 0, .guard_above = 0};

/// The same numbers for every element type, to rounding; from three tokens on, the second has zero
/// key and directions.
inline StabilizedInputs random_inputs(const Setting& s) {
  Rng rng(31);
  const Shape keys{s.batch, s.time, s.heads, s.key}, values{s.batch, s.time, s.heads, s.value};
  const auto leaf = [&](const Shape& shape, double scale, bool zero_row = false) {
    Tensor x = rng.normal(shape, DType::float64, 0, scale);
    if (zero_row && s.time > 2) {
      const Index row = x.elements() / (s.batch * s.time);
      for (Index i = 0; i < row; ++i)
        x.mutable_values<double>()[static_cast<std::size_t>(row + i)] = 0;
    }
    return Var::parameter(x.to(s.dtype));
  };
  StabilizedInputs in{
      .query = leaf(keys, 1),
      .key = leaf(keys, s.key_scale, true),
      .value = leaf(values, s.value_scale),
      .directions = leaf({s.batch, s.time, s.heads, s.directions, s.key}, s.direction_scale, true)};
  if (s.symbolic) {
    in.symbolic = leaf(keys, 0.5);
    in.active = Tensor({s.batch, s.time}, DType::uint8);
    for (Index i = 0; i < s.batch * s.time; ++i)
      in.active.mutable_data<std::uint8_t>()[i] = (i % s.time + i / s.time) % 3 != 0;
  }
  const auto converted = [&](const Tensor& x) { return x.defined() ? x.to(s.dtype) : x; };
  in.initial_inverse = converted(s.initial_inverse);
  in.initial_memory = converted(s.initial_memory);
  in.initial_updates = s.initial_updates;
  return in;
}

inline RecurrenceOutcome outcome_of(const Recurrence& recurrence, const Setting& s,
                                    const StabilizedOptions& options) {
  const StabilizedInputs in = random_inputs(s);
  Tape tape;
  const StabilizedResult result = recurrence(in, options);
  RecurrenceOutcome outcome{
      {result.output.value(), result.inverse, result.memory}, {}, result.updates};
  if (s.time == 0) return outcome;
  const Gradients gradients = tape.backward(
      result.output, Rng(32).normal(result.output.shape(), DType::float64).to(s.dtype));
  for (const Var& x : {in.query, in.key, in.value, in.directions, in.symbolic}) {
    if (!x.defined()) continue;
    const Tensor* gradient = gradients.find(x);
    outcome.gradients.push_back(gradient ? *gradient : Tensor::zeros(x.shape(), s.dtype));
  }
  return outcome;
}

inline RecurrenceOutcome operator_outcome(const Setting& s, const StabilizedOptions& o) {
  return outcome_of(
      [](const auto& in, const auto& options) { return stabilized_recurrence(in, options); }, s, o);
}

inline void check_outcomes_close(const RecurrenceOutcome& actual,
                                 const RecurrenceOutcome& reference, double tolerance) {
  const auto check_all = [&](const char* what, const auto& some, const auto& others) {
    BOOST_REQUIRE_EQUAL(some.size(), others.size());
    for (std::size_t i = 0; i < some.size(); ++i) BOOST_TEST_CONTEXT(what << ' ' << i)
    check_close(some[i].to(DType::float64), others[i].to(DType::float64), tolerance);
  };
  check_all("value", actual.values, reference.values);
  check_all("gradient", actual.gradients, reference.gradients);
  BOOST_TEST(actual.updates.template values<Index>() == reference.updates.template values<Index>(),
             boost::test_tools::per_element());
}

/// That `with` is not what happens `without`: the stabiliser under test did something.
inline void check_differs(const Setting& s, const StabilizedOptions& with,
                          const StabilizedOptions& without) {
  BOOST_TEST(relative_difference(operator_outcome(s, with).values[0],
                                 operator_outcome(s, without).values[0]) > 1e-9);
}

/// Matrices factor * I (B, H, d, d).
inline Tensor scaled_identity(const Setting& s, double factor) {
  Tensor result = Tensor::zeros({s.batch, s.heads, s.key, s.key}, DType::float64);
  for (Index i = 0; i < s.batch * s.heads * s.key; ++i)
    result.mutable_values<double>()[static_cast<std::size_t>(i / s.key * s.key * s.key +
                                                             i % s.key * (s.key + 1))] = factor;
  return result;
}

}  // namespace vla
