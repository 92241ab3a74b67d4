// Diagnostics of the published recurrence, each stabiliser made to happen.

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "models/diagnostics.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

StabilizedInputs inputs(Index time, bool symbolic = false) {
  Rng rng(23);
  const auto draw = [&](const Shape& shape, double scale) {
    return Var(rng.normal(shape, DType::float64, 0, scale));
  };
  StabilizedInputs in{.query = draw({2, time, 2, 4}, 1),
                      .key = draw({2, time, 2, 4}, 0.8),
                      .value = draw({2, time, 2, 3}, 2),
                      .directions = draw({2, time, 2, 2, 4}, 0.5)};
  if (symbolic) {
    in.symbolic = draw({2, time, 2, 4}, 0.5);
    in.active = Tensor::full({2, time}, 1, DType::uint8);
    in.active.mutable_data<std::uint8_t>()[0] = 0;
  }
  return in;
}

// One head of width 1, numbers by token.
Var numbers(const std::vector<double>& values) {
  return Tensor::from<double>({1, static_cast<Index>(values.size()), 1, 1}, values);
}

StabilizedInputs scalar_inputs(const std::vector<double>& q, const std::vector<double>& k,
                               const std::vector<double>& v, const std::vector<double>& u) {
  const Var directions = numbers(u);
  return {.query = numbers(q),
          .key = numbers(k),
          .value = numbers(v),
          .directions = reshape(directions, {1, directions.size(1), 1, 1, 1})};
}

std::vector<double> listed(const Tensor& x) {
  const std::span<const double> values = x.values<double>();
  return {values.begin(), values.end()};
}

void check_numbers(const Tensor& x, const std::vector<double>& expected) {
  check_close(x, Tensor::from<double>(x.shape(), expected), 1e-14);
}

// The recurrence without a stabiliser.
const StabilizedOptions kPlain{.nudge_period = 0, .error_clip = 0, .guard_above = 0};

}  // namespace

BOOST_AUTO_TEST_SUITE(stabilized_diagnostics)

// W holds the factors of clip and renormalisation, so W v is o with all of them at work.
BOOST_AUTO_TEST_CASE(the_attention_gives_the_output_whatever_happens) {
  const StabilizedOptions rows[] = {
      kPlain,
      {.nudge_period = 2, .nudge = 0.3, .error_clip = 0.5, .guard_above = 0},
      {.renormalize_above = 1, .guard_above = 0},
      {.error_clip = 1, .renormalize_above = 1, .guard_above = 0.1, .guard = 0.5},
      {.unit_coefficient = true, .read_through_inverse = false, .guard_above = 2, .guard = 0.5},
  };
  const auto heads_first = [](const Var& y) { return permute(y, {0, 2, 1, 3}); };
  for (const StabilizedOptions& options : rows)
    for (const bool symbolic : {false, true}) {
      const StabilizedInputs in = inputs(12, symbolic);
      const Diagnostics found = diagnose(in, options, {}, {.maps = true});
      const Var o = heads_first(matmul(heads_first(Var(found.attention)), heads_first(in.value)));
      const StabilizedResult result = stabilized_recurrence(in, options);
      check_close(o.value(), result.output.value(), 1e-12);
      double squares = 0;
      for (double element : result.memory.values<double>()) squares += element * element;
      for (Index b : {0, 1})
        for (Index h : {0, 1}) squares -= std::pow(found.memory_norm.at<double>({b, 11, h}), 2);
      BOOST_TEST(std::abs(squares) <= 1e-10);
    }
}

// lambda0 1, u = 1 then 0: A = 1/2. alpha = A k, e = v - S k.
BOOST_AUTO_TEST_CASE(a_plain_run_by_hand) {
  const StabilizedInputs in = scalar_inputs({1, 2}, {1, 1}, {4, 4}, {1, 0});
  const Diagnostics found = diagnose(in, kPlain, {}, {.maps = true});
  check_numbers(found.penalty_strength, {1, 0});  // u A u with A = 1, then 1/2
  check_numbers(found.eigenvalues, {0.5, 0.5});
  check_numbers(found.inverse_norm, {0.5, 0.5});
  check_numbers(found.inverse, {0.5});
  check_numbers(found.condition, {1, 1});
  check_numbers(found.error_norm, {4, 2});
  check_numbers(found.memory_norm, {2, 3});
  check_numbers(found.transition_norm, {0.5, 0.5});
  check_numbers(found.survival, {1, 0, 2, 1});  // |alpha A q| |e|
  check_numbers(found.attention, {0.25, 0, 0.25, 0.5});
}

BOOST_AUTO_TEST_CASE(clip_guard_and_renormalisation_by_hand) {
  StabilizedOptions options = kPlain;
  options.error_clip = 10;
  StabilizedInputs in = scalar_inputs({1}, {1}, {20}, {0});
  Diagnostics found = diagnose(in, options, {}, {.maps = true});
  const double clipped = 10 / (20 + 1e-6);
  check_numbers(found.error_norm, {20});
  check_numbers(found.transition_norm, {1 - clipped});
  check_numbers(found.memory_norm, {20 * clipped});

  options = kPlain;
  options.guard_above = 0.5;  // |A| = 1: A of the read-out is 1.25, that of alpha 1
  options.guard = 0.25;
  found = diagnose(scalar_inputs({1}, {1}, {4}, {0}), options, {}, {.maps = true});
  check_numbers(found.inverse_norm, {1.25});
  check_numbers(found.inverse, {1.25});
  check_numbers(found.memory_norm, {4});
  check_numbers(found.survival, {5});
  check_numbers(found.transition_norm, {0});

  options = kPlain;
  options.renormalize_above = 2;  // S is 4, made 1; then 1 + (3 - 0.5) 0.5 = 2.25, made 1
  in = scalar_inputs({1, 1}, {1, 0.5}, {4, 3}, {0, 0});
  found = diagnose(in, options, {}, {.maps = true});
  check_numbers(found.memory_norm, {1, 1});
  check_numbers(found.transition_norm, {0, 0.75 / 2.25});
  check_numbers(found.survival, {1, 0, 1 / 2.25, 1.25 / 2.25});
}

BOOST_AUTO_TEST_CASE(a_symbolic_direction_counts_where_it_is_active) {
  StabilizedInputs in = scalar_inputs({1, 1}, {1, 1}, {1, 1}, {1, 0});
  in.symbolic = numbers({5, 2});
  in.active = Tensor::from<std::uint8_t>({1, 2}, std::vector<std::uint8_t>{0, 1});
  check_numbers(diagnose(in, kPlain).penalty_strength, {1, 2});  // 2 A 2 with A = 1/2
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded) {
  StabilizedInputs in = inputs(3);
  in.query = Var::parameter(in.query.value());
  Tape tape;
  diagnose(in, {});
  BOOST_TEST(tape.size() == 0);
}

BOOST_AUTO_TEST_CASE(a_denominator_divides_the_maps) {
  const StabilizedInputs in = scalar_inputs({1, 2}, {1, 1}, {4, 4}, {1, 0});
  const Diagnostics found = diagnose(in, kPlain, numbers({2, 4}), {.maps = true});
  check_numbers(found.attention, {0.125, 0, 0.0625, 0.125});
}

BOOST_AUTO_TEST_CASE(an_inverse_that_is_not_finite_has_no_eigenvalues) {
  StabilizedInputs in = inputs(2);
  in.directions = in.directions * INFINITY;
  const Diagnostics found = diagnose(in, kPlain);
  for (double number : listed(found.eigenvalues)) BOOST_TEST(std::isnan(number));
  for (double number : listed(found.condition)) BOOST_TEST(std::isnan(number));
}

BOOST_AUTO_TEST_CASE(an_initial_state_is_refused) {
  StabilizedInputs in = inputs(2);
  in.initial_memory = Tensor::zeros({2, 2, 3, 4}, DType::float64);
  BOOST_CHECK_EXCEPTION(diagnose(in, kPlain), Error,
                        says("diagnose: the recurrence has an initial state; one from the start of "
                             "its sequence is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
