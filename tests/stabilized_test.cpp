// The published recurrence with its stabilisers, against the same maths composed of primitive ops.
// The golden cases reach few of the stabilisers; here each is made to happen, and seen to.

#include "framework/ops/shaping.hpp"
#include "tests/error_of.hpp"
#include "tests/stabilized_setting.hpp"

namespace vla {
namespace {

void compare(const Setting& s, const StabilizedOptions& o, double tolerance = 1e-9) {
  check_outcomes_close(operator_outcome(s, o), outcome_of(composed_stabilized_recurrence, s, o),
                       tolerance);
}

// Tokens first to last - 1 of the inputs.
StabilizedInputs cut(const StabilizedInputs& in, Index first, Index last) {
  const auto part = [&](const Var& x) { return slice(x, 1, first, last); };
  StabilizedInputs result{.query = part(in.query),
                          .key = part(in.key),
                          .value = part(in.value),
                          .directions = part(in.directions),
                          .symbolic = part(in.symbolic)};
  const Index batch = in.active.size(0), time = in.active.size(1);
  result.active = Tensor({batch, last - first}, DType::uint8);
  for (Index b = 0; b < batch; ++b)
    for (Index t = first; t < last; ++t)
      result.active.mutable_data<std::uint8_t>()[b * (last - first) + t - first] =
          in.active.data<std::uint8_t>()[b * time + t];
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
  check_differs({}, o, kPlain);
}

BOOST_AUTO_TEST_CASE(renormalisation) {
  StabilizedOptions o = kPlain;
  o.renormalize_above = 0.5;
  compare({}, o);
  check_differs({}, o, kPlain);
}

BOOST_AUTO_TEST_CASE(norm_guard) {
  StabilizedOptions o = kPlain;
  o.guard = 0.1;
  o.guard_above = 1;  // |A| is above it from the start
  compare({}, o);
  check_differs({}, o, kPlain);
  o.guard_above = 2.2;  // |A| = 2 is below, |S| rises above it later
  compare({.value_scale = 4}, o);
  check_differs({.value_scale = 4}, o, kPlain);
}

BOOST_AUTO_TEST_CASE(nudge_counts_updates_not_directions) {
  StabilizedOptions o = kPlain;
  o.nudge = 0.1;
  o.nudge_period = 2;
  for (Index rank : {0, 1, 3}) {
    compare({.directions = rank}, o);
    check_differs({.directions = rank}, o, kPlain);
  }
  // With one update a token, the nudges come at tokens 1, 3, ...; a count carried over moves them.
  Setting carried;
  carried.initial_updates = Tensor::from<Index>({2}, {1, 2});
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
  check_differs(s, o, lower);  // some delta was below 0.5
  compare(s, lower);           // the constant of version 3: A' is then some -1e4 z z^T

  StabilizedOptions falls = o;
  falls.fallback_below = 0.3;
  compare(s, falls);
  check_differs(s, falls, o);  // some |delta| was below 0.3
}

BOOST_AUTO_TEST_CASE(a_state_can_be_carried_over) {
  Setting s;
  s.initial_inverse = scaled_identity(s, 0.7);
  Rng rng(2);
  s.initial_memory = rng.normal({s.batch, s.heads, s.value, s.key}, DType::float64);
  compare(s, {});
}

// One token has one update, or two where its symbolic direction is active, whatever the rank: so
// the sequences of a batch get their nudges at different tokens.
BOOST_AUTO_TEST_CASE(a_cut_sequence_goes_on_exactly) {
  StabilizedOptions o = kPlain;
  o.nudge = 0.1;
  o.nudge_period = 3;
  const Setting s{.batch = 3, .time = 11, .directions = 2, .symbolic = true};
  const StabilizedInputs in = random_inputs(s);
  for (const Recurrence& recurrence :
       {Recurrence([](const auto&x, const auto&y) { return stabilized_recurrence(x, y); }),
        Recurrence(composed_stabilized_recurrence)}) {
    const StabilizedResult whole = recurrence(in, o);
    BOOST_TEST(whole.updates.values<Index>() == std::vector<Index>({18, 19, 18}),
               boost::test_tools::per_element());
    for (Index at : {0, 1, 4, 7, 11}) {
      const StabilizedResult first = recurrence(cut(in, 0, at), o);
      StabilizedInputs rest = cut(in, at, s.time);
      rest.initial_inverse = first.inverse;
      rest.initial_memory = first.memory;
      rest.initial_updates = first.updates;
      const StabilizedResult second = recurrence(rest, o);
      BOOST_TEST_CONTEXT("cut at " << at) {
        check_close(concat({first.output, second.output}, 1).value(), whole.output.value(), 1e-14);
        check_close(second.inverse, whole.inverse, 1e-14);
        check_close(second.memory, whole.memory, 1e-14);
        BOOST_TEST(second.updates.values<Index>() == whole.updates.values<Index>(),
                   boost::test_tools::per_element());
      }
      if (at != 4 && at != 7) continue;
      rest.initial_updates = {};
      BOOST_TEST(relative_difference(recurrence(rest, o).inverse, whole.inverse) > 1e-6);
    }
  }
}

BOOST_AUTO_TEST_CASE(element_types_that_do_not_fit_are_refused) {
  const auto message_of = [](auto change) {
    StabilizedInputs in = random_inputs({.symbolic = true});
    change(in);
    return error_of([&] { stabilized_recurrence(in, kPlain); });
  };
  const auto narrow = [](Var& x) { x = Var(x.value().to(DType::float32)); };
  const auto expected = [](const std::string& name, const std::string& needed = "float64") {
    return "stabilized_recurrence: " + name + " is float32; " + needed + " is needed";
  };
  constexpr auto kSingle = DType::float32;
  BOOST_TEST(message_of([&](auto& in) { narrow(in.key); }) == expected("key"));
  BOOST_TEST(message_of([&](auto& in) { narrow(in.value); }) == expected("value"));
  BOOST_TEST(message_of([&](auto& in) { narrow(in.directions); }) == expected("directions"));
  BOOST_TEST(message_of([&](auto& in) { narrow(in.symbolic); }) == expected("symbolic direction"));
  BOOST_TEST(message_of([&](auto& in) {
               in.active = Tensor({2, 9}, kSingle);
             }) == expected("active", "uint8"));
  BOOST_TEST(message_of([&](auto& in) {
               in.initial_inverse = Tensor({2, 2, 4, 4}, kSingle);
             }) == expected("initial inverse"));
  BOOST_TEST(message_of([&](auto& in) {
               in.initial_memory = Tensor({2, 2, 3, 4}, kSingle);
             }) == expected("initial memory"));
  BOOST_TEST(message_of([&](auto& in) { in.initial_updates = Tensor({2}, kSingle); }) ==
             expected("initial updates", "int64"));
}

BOOST_AUTO_TEST_CASE(updates_that_do_not_fit_are_refused) {
  Setting s;
  s.initial_updates = Tensor::from<Index>({1}, {4});
  BOOST_CHECK_EXCEPTION(operator_outcome(s, {}), Error,
                        says("stabilized_recurrence: initial updates (1) are not (2)"));
  s.initial_updates = Tensor::from<Index>({2}, {4, -1});
  BOOST_CHECK_EXCEPTION(operator_outcome(s, {}), Error,
                        says("stabilized_recurrence: initial updates -1; 0 or more is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
