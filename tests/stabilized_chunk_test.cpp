// The published recurrence in chunks: equal to the step form where it is allowed, refused
// elsewhere.

#include "models/vla/stabilized_chunk.hpp"

#include "models/vla/vla_v1.hpp"
#include "models/vla/vla_v3.hpp"
#include "tests/layer_reference.hpp"
#include "tests/stabilized_setting.hpp"

namespace vla {
namespace {

constexpr auto kDouble = DType::float64;

AttentionOptions attention(Index width, Index heads) {
  return {.width = width, .heads = heads, .convolution = 0, .dtype = kDouble};
}

Tensor tokens_of_three(Index batch, Index time) {
  Rng rng(5);
  Tensor tokens({batch, time}, DType::int64);
  for (Index& token : tokens.mutable_values<Index>()) token = rng.below(3);
  return tokens;
}

// Both forms of a layer on the same input with the same parameters.
template <class Layer, class Options, class Run>
void compare_layers(Options o, Index time, Run run) {
  const Tensor x = input_with_zero_token(2, time, o.attention.width);
  const auto outcome_in = [&](OperatorForm asked, OperatorForm ran) {
    o.form = asked;
    Rng rng(4);
    Layer layer(o, rng);
    return layer_outcome(parameter_map(layer), x, [&](const Var& x, const auto&) {
      const typename Layer::Result result = run(layer, x);
      BOOST_TEST((result.form == ran));
      return result.output;
    });
  };
  const LayerOutcome step = outcome_in(OperatorForm::step, OperatorForm::step);
  check_layers_close(outcome_in(OperatorForm::chunk, OperatorForm::chunk), step);
  check_layers_close(outcome_in(OperatorForm::automatic, OperatorForm::chunk), step);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stabilized_chunk)

BOOST_AUTO_TEST_CASE(version_1) {
  for (const double symbolic : {0., 0.5})
    for (Index rank : {0, 1, 2})
      for (Index time : {0, 1, 5, 70}) {
        BOOST_TEST_CONTEXT("symbolic " << symbolic << ", rank " << rank << ", T " << time)
        compare_layers<VlaV1>(
            VlaV1Options{.attention = attention(6, 2),
                         .rank = rank,
                         .symbolic = symbolic,
                         .recurrence = {.lambda0 = 0.5,
                                        .nudge_period = 0,
                                        .error_clip = 0,
                                        .guard_above = 0}},
            time, [&](VlaV1& layer, const Var& x) {
              return layer.run(
                  x, symbolic > 0 ? equal_tokens(tokens_of_three(2, time), kDouble) : Tensor());
            });
      }
}

BOOST_AUTO_TEST_CASE(version_3) {
  for (Index rank : {0, 1, 2})
    for (Index time : {0, 1, 5, 70}) {
      BOOST_TEST_CONTEXT("rank " << rank << ", T " << time)
      compare_layers<VlaV3>(
          VlaV3Options{
              .attention = attention(6, 2), .nudge_period = 0, .rank = rank, .unit_floor = 1e-2},
          time, [](VlaV3& layer, const Var& x) { return layer.run(x); });
    }
}

BOOST_AUTO_TEST_CASE(state_and_count) {
  const Recurrence by_chunk = [](const auto& in, const auto& options) {
    return stabilized_recurrence(in, options, OperatorForm::chunk);
  };
  for (const bool unit_coefficient : {false, true}) {
    StabilizedOptions o = kPlain;
    o.lambda0 = 0.3;
    o.unit_coefficient = unit_coefficient;
    o.unit_floor = 1e-2;
    o.read_through_inverse = !unit_coefficient;
    for (Setting s :
         {Setting{.time = 37, .directions = 2, .symbolic = true},
          Setting{.batch = 1, .time = 4, .heads = 1, .key = 1, .value = 1}, Setting{.time = 0}}) {
      s.initial_updates = Tensor::full({s.batch}, 7, DType::int64);
      check_outcomes_close(outcome_of(by_chunk, s, o), operator_outcome(s, o), 1e-9);
      s.dtype = DType::float32;
      const RecurrenceOutcome single = outcome_of(by_chunk, s, o);
      s.dtype = kDouble;
      check_outcomes_close(single, operator_outcome(s, o), 1e-4);
    }
  }
}

BOOST_AUTO_TEST_CASE(what_forbids_it_is_named) {
  const auto check_refused = [](const std::string& what, auto change) {
    Setting s;
    StabilizedOptions o = kPlain;
    change(s, o);
    const StabilizedInputs in = random_inputs(s);
    BOOST_CHECK_EXCEPTION(stabilized_recurrence(in, o, OperatorForm::chunk), Error,
                          says("stabilized_recurrence: the chunk form is not exact with " + what));
    BOOST_TEST((stabilized_recurrence(in, o, OperatorForm::automatic).form == OperatorForm::step));
  };
  check_refused("nudge 0.1 every 50 updates",
                [](auto&, auto& o) { o.nudge_period = 50, o.nudge = 0.1; });
  check_refused("error_clip 10", [](auto&, auto& o) { o.error_clip = 10; });
  check_refused("renormalize_above 2", [](auto&, auto& o) { o.renormalize_above = 2; });
  check_refused("guard_above 1000", [](auto&, auto& o) { o.guard_above = 1000; });
  check_refused("delta_floor 1.5", [](auto&, auto& o) { o.delta_floor = 1.5; });
  check_refused("fallback_below 3", [](auto&, auto& o) { o.fallback_below = 3; });
  check_refused("a given initial_inverse",
                [](auto& s, auto&) { s.initial_inverse = scaled_identity(s, 1); });
  check_refused("a given initial_memory", [](auto& s, auto&) {
    s.initial_memory = Tensor::zeros({s.batch, s.heads, s.value, s.key}, kDouble);
  });
  // A nudge of nothing is none.
  StabilizedOptions o = kPlain;
  o.nudge_period = 2;
  o.nudge = 0;
  BOOST_TEST((stabilized_recurrence(random_inputs({}), o, OperatorForm::automatic).form ==
              OperatorForm::chunk));
}

BOOST_AUTO_TEST_CASE(layers_refuse_it_with_their_defaults) {
  Rng rng(4);
  const Var x(rng.normal({1, 3, 4}, kDouble));
  VlaV1 first({.attention = attention(4, 2), .form = OperatorForm::chunk}, rng);
  BOOST_CHECK_EXCEPTION(first(x), Error,
                        says("stabilized_recurrence: the chunk form is not exact with nudge 1e-05 "
                             "every 50 updates"));
  VlaV3 third({.attention = attention(4, 2), .form = OperatorForm::chunk}, rng);
  BOOST_CHECK_EXCEPTION(third(x), Error,
                        says("stabilized_recurrence: the chunk form is not exact with nudge 0.001 "
                             "every 20 updates"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
