// VLA version 3 as a layer, against the layer written anew from its formulas.

#include "models/vla/vla_v3.hpp"

#include <optional>

#include "framework/ops/normalize.hpp"
#include "tests/layer_reference.hpp"

namespace vla {
namespace {

constexpr auto kDouble = DType::float64;

AttentionOptions attention(Index width, Index heads) {
  return {.width = width, .heads = heads, .convolution = 0, .dtype = kDouble};
}

Var reference(const VlaV3Options& o, const Var& x, const ParameterMap& parameters) {
  const Index heads = o.attention.heads, d = o.attention.width / heads;
  const Var raw_key = head_map(parameters, "key", x, heads);
  const Var q = elu_plus_one(head_map(parameters, "query", x, heads));
  const Var k = elu_plus_one(raw_key);
  const Var u =
      unit(direction_blocks(parameters.at("directions.weight"), raw_key, o.rank), o.unit_floor);
  Var memory = composed_stabilized_recurrence({.query = q,
                                               .key = unit(k, o.unit_floor),
                                               .value = head_map(parameters, "value", x, heads),
                                               .directions = u / std::sqrt(double(d))},
                                              {.lambda0 = o.lambda0,
                                               .delta_floor = 1e-4,
                                               .nudge_period = o.nudge_period,
                                               .nudge = o.nudge,
                                               .unit_coefficient = true,
                                               .unit_floor = o.unit_floor,
                                               .read_through_inverse = false,
                                               .error_clip = 0,
                                               .guard_above = 0})
                   .output;
  if (x.size(1) > 0) memory = memory / raised(linear_weights(q, k), o.denominator_floor);
  return layer_output(parameters, memory);
}

LayerOutcome outcome_of(const VlaV3Options& o, const Tensor& x) {
  Rng rng(4);
  VlaV3 layer(o, rng);
  return layer_outcome(parameter_map(layer), x,
                       [&](const Var& x, const auto&) { return layer(x); });
}

// What a layer starts from in place of its own weights.
struct Weights {
  std::optional<double> key_bias = {};
  double direction_scale = 1;
};

ParameterMap changed(VlaV3& layer, const Weights& weights) {
  ParameterMap parameters = parameter_map(layer);
  if (weights.key_bias) parameters.at("key.bias").mutable_value().fill(*weights.key_bias);
  for (double& element :
       parameters.at("directions.weight").mutable_value().mutable_values<double>())
    element *= weights.direction_scale;
  return parameters;
}

void compare(VlaV3Options o, Index time, const Weights& weights = {}) {
  o.unit_floor = 1e-2;  // the gradient of a zero direction is 1 / floor
  Rng rng(4);
  VlaV3 layer(o, rng);
  const ParameterMap parameters = changed(layer, weights);
  const Tensor x = input_with_zero_token(2, time, o.attention.width);
  check_layer_is(parameters, x, layer,
                 [&](const Var& x, const auto& all) { return reference(o, x, all); });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(vla_v3)

BOOST_AUTO_TEST_CASE(the_layer_is_its_formulas) {
  for (Index rank : {1, 3}) BOOST_TEST_CONTEXT("rank " << rank)
  compare({.attention = attention(6, 2), .nudge_period = 2, .nudge = 0.1, .rank = rank}, 5);
  compare({.attention = attention(6, 2)}, 5);  // the defaults
}

BOOST_AUTO_TEST_CASE(edges) {
  for (Index time : {0, 1}) BOOST_TEST_CONTEXT("T " << time)
  compare({.attention = attention(6, 2), .rank = 2}, time);
  compare({.attention = attention(1, 1)}, 4);  // d = 1, and a norm over one number
  compare({.attention = attention(3, 3)}, 4);  // d = 1 in three heads
  compare({.attention = attention(6, 2), .nudge_period = 2, .nudge = 0.1, .rank = 0}, 4);
}

// z . phi(q) grows with t: a floor between its values is reached by the first tokens only.
BOOST_AUTO_TEST_CASE(the_floor_of_the_denominator) {
  const Tensor x = input_with_zero_token(2, 6, 6);
  VlaV3Options o{.attention = attention(6, 2), .unit_floor = 1e-2};
  const LayerOutcome without = outcome_of(o, x);
  for (const double floor : {8., 1e4}) {  // reached by some, and by all
    o.denominator_floor = floor;
    compare(o, 6);
    const LayerOutcome with = outcome_of(o, x);
    BOOST_TEST(relative_difference(with.output, without.output) > 1e-9);
    BOOST_TEST(relative_difference(with.gradients.at("query.weight"),
                                   without.gradients.at("query.weight")) > 1e-3);
  }
}

// Where the key has no bias the second token's is 0, and with it u. elu + 1 of a key about -6 is
// about the floor of compare(), of one about -20 almost 0; so is A k' then.
BOOST_AUTO_TEST_CASE(the_floor_of_unit) {
  const Tensor x = input_with_zero_token(2, 5, 6);
  const auto output = [&](double floor, const Weights& weights) {
    Rng rng(4);
    VlaV3 layer({.attention = attention(6, 2), .nudge = 0, .unit_floor = floor}, rng);
    changed(layer, weights);
    return layer(Var(x)).value();
  };
  compare({.attention = attention(6, 2), .rank = 2}, 5, {.key_bias = 0});
  for (const Weights& weights :
       {Weights{.key_bias = -6}, Weights{.key_bias = -20}, Weights{.direction_scale = 5e-3}}) {
    BOOST_TEST_CONTEXT("key bias " << weights.key_bias.value_or(0)) {
      compare({.attention = attention(6, 2), .rank = 2}, 5, weights);
      BOOST_TEST(relative_difference(output(1e-2, weights), output(1e-12, weights)) > 1e-6);
    }
  }
}

// Only from an A that is not positive definite delta falls below 1: here to 1 - 6 / 3 for the first
// token, as |u|^2 is 1 / 3.
BOOST_AUTO_TEST_CASE(delta_is_raised_to_a_floor) {
  Rng rng(4);
  VlaV3 layer({.attention = attention(6, 2)}, rng);
  const Var x(rng.normal({1, 3, 6}, kDouble));
  StabilizedInputs in = layer.run(x).inputs;
  in.initial_inverse = Tensor::zeros({1, 2, 3, 3}, kDouble);
  for (Index i = 0; i < 6; ++i)
    in.initial_inverse.mutable_values<double>()[static_cast<std::size_t>(i / 3 * 9 + i % 3 * 4)] =
        -6;
  in.initial_memory = rng.normal({1, 2, 3, 3}, kDouble);
  in.initial_updates = Tensor::from<Index>({1}, {7});
  StreamState state{.parts = {{"inverse", in.initial_inverse},
                              {"memory", in.initial_memory},
                              {"sum", Tensor::full({1, 2, 3}, 2, kDouble)}},
                    .tokens = 7};
  layer.stream(x, state);

  const auto inverse = [&](double delta_floor) {
    return stabilized_recurrence(in, {.lambda0 = 0.1,
                                      .delta_floor = delta_floor,
                                      .nudge_period = 20,
                                      .nudge = 1e-3,
                                      .unit_coefficient = true,
                                      .read_through_inverse = false,
                                      .error_clip = 0,
                                      .guard_above = 0})
        .inverse;
  };
  check_close(state.parts.at("inverse"), inverse(1e-4), 1e-12);
  BOOST_TEST(relative_difference(inverse(1e-6), inverse(1e-4)) > 1e-3);
}

// Directions of a zero key are zero, so that A stays I / lambda0.
BOOST_AUTO_TEST_CASE(zero_keys_leave_the_inverse_alone) {
  Rng rng(4);
  VlaV3 layer({.attention = attention(6, 2), .lambda0 = 0.5, .nudge_period = 0}, rng);
  ParameterMap parameters = parameter_map(layer);
  parameters.at("key.weight").mutable_value().fill(0);
  parameters.at("key.bias").mutable_value().fill(0);
  const VlaV3::Result result = layer.run(Var(rng.normal({1, 4, 6}, kDouble)));
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 3; ++j)
      BOOST_TEST(result.inverse.at<double>({0, 1, i, j}) == (i == j ? 2. : 0.),
                 boost::test_tools::tolerance(1e-12));
  for (const double element : result.output.value().values<double>())
    BOOST_TEST(std::isfinite(element));
  BOOST_TEST(result.updates.item() == 4);
}

BOOST_AUTO_TEST_CASE(options_that_are_not_allowed_are_named) {
  Rng rng(4);
  const auto make = [&](VlaV3Options o) { return [o, &rng] { VlaV3(o, rng); }; };
  BOOST_CHECK_EXCEPTION(
      make({.denominator_floor = 0})(), Error,
      says("VLA v3: denominator floor 0 is not allowed; a finite number above 0 is needed"));
  BOOST_CHECK_EXCEPTION(
      make({.nudge_period = -2})(), Error,
      says("stabilized_recurrence: nudge_period is -2; 0 (never) or more is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
