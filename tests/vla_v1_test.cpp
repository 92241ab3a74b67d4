// VLA version 1 as a layer, against the layer written anew from its formulas.

#include "models/vla/vla_v1.hpp"

#include "models/models.hpp"
#include "tests/layer_reference.hpp"

namespace vla {
namespace {

constexpr auto kDouble = DType::float64;

AttentionOptions attention(Index width, Index heads) {
  return {.width = width, .heads = heads, .convolution = 0, .dtype = kDouble};
}

// Every stabiliser at a value that makes it act on small sequences.
StabilizedOptions active_stabilisers() {
  return {.nudge_period = 3,
          .nudge = 0.1,
          .error_clip = 0.7,
          .renormalize_above = 1,
          .guard_above = 1.5,
          .guard = 0.05};
}

Var reference(const VlaV1Options& o, const Var& x, const ParameterMap& parameters) {
  const Index heads = o.attention.heads, d = o.attention.width / heads;
  const Var k = head_map(parameters, "key", x, heads);
  std::vector<Var> blocks;
  for (Index m = 0; m < (o.directions == DirectionKind::separate ? o.rank : 1); ++m)
    blocks.push_back(parameters.at("penalty.directions." + std::to_string(m) + ".weight"));
  Var u = direction_blocks(concat(blocks, 0), k, o.rank);
  if (o.directions == DirectionKind::kernel) u = elu_plus_one(u);
  const Var heads_output =
      composed_stabilized_recurrence({.query = head_map(parameters, "query", x, heads),
                                      .key = k,
                                      .value = head_map(parameters, "value", x, heads),
                                      .directions = u / std::sqrt(double(d))},
                                     o.recurrence)
          .output;
  return layer_output(parameters, heads_output);
}

void compare(const VlaV1Options& o, Index time) {
  Rng rng(4);
  VlaV1 layer(o, rng);
  const ParameterMap parameters = parameter_map(layer);
  const Tensor x = input_with_zero_token(2, time, o.attention.width);
  check_layer_is(parameters, x, layer,
                 [&](const Var& x, const auto& all) { return reference(o, x, all); });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(vla_v1)

BOOST_AUTO_TEST_CASE(the_layer_is_its_formulas) {
  for (const DirectionKind kind :
       {DirectionKind::stacked, DirectionKind::separate, DirectionKind::kernel})
    for (Index rank : {1, 3}) BOOST_TEST_CONTEXT("directions " << int(kind) << ", rank " << rank)
  compare({.attention = attention(6, 2),
           .directions = kind,
           .rank = rank,
           .recurrence = active_stabilisers()},
          5);
  compare({.attention = attention(6, 2)}, 5);  // the defaults
}

BOOST_AUTO_TEST_CASE(edges) {
  const StabilizedOptions o = active_stabilisers();
  for (Index time : {0, 1}) BOOST_TEST_CONTEXT("T " << time)
  compare({.attention = attention(6, 2), .rank = 2, .recurrence = o}, time);
  compare({.attention = attention(1, 1), .recurrence = o}, 4);  // d = 1, and a norm over one number
  compare({.attention = attention(3, 3), .recurrence = o}, 4);  // d = 1 in three heads
  compare({.attention = attention(6, 2), .rank = 0, .recurrence = o}, 4);
}

// A key that is zero writes nothing and moves A by nothing, as its directions are zero too.
BOOST_AUTO_TEST_CASE(zero_keys_leave_the_state_alone) {
  Rng rng(4);
  VlaV1 layer({.attention = attention(6, 2), .recurrence = {.lambda0 = 0.5, .nudge_period = 0}},
              rng);
  ParameterMap parameters = parameter_map(layer);
  parameters.at("key.weight").mutable_value().fill(0);
  parameters.at("key.bias").mutable_value().fill(0);
  const VlaV1::Result result = layer.run(Var(rng.normal({1, 4, 6}, kDouble)));
  for (const double element : result.memory.values<double>()) BOOST_TEST(element == 0);
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 3; ++j)
      BOOST_TEST(result.inverse.at<double>({0, 1, i, j}) == (i == j ? 2 : 0));
}

// u_m = phi(W k)_m / sqrt(d), worked out number by number; block m of W's rows gives direction m.
BOOST_AUTO_TEST_CASE(kernel_directions_by_loops) {
  const Index heads = 2, d = 3, rank = 2, time = 4;
  Rng rng(6);
  VlaV1PenaltyBuilder builder({.attention = attention(heads * d, heads).resolved(),
                               .directions = DirectionKind::kernel,
                               .rank = rank},
                              rng);
  const Tensor k = rng.normal({1, time, heads, d}, kDouble);
  const Tensor u = builder.directions(Var(k)).value();
  BOOST_REQUIRE(u.shape() == Shape({1, time, heads, rank, d}));
  const Tensor w = builder.maps[0].weight.value();
  for (Index t = 0; t < time; ++t)
    for (Index h = 0; h < heads; ++h)
      for (Index m = 0; m < rank; ++m)
        for (Index i = 0; i < d; ++i) {
          double y = 0;
          for (Index j = 0; j < heads * d; ++j)
            y += w.at<double>({(m * heads + h) * d + i, j}) * k.at<double>({0, t, j / d, j % d});
          const double phi = y > 0 ? y + 1 : std::exp(y);
          BOOST_TEST(u.at<double>({0, t, h, m, i}) == phi / std::sqrt(3.),
                     boost::test_tools::tolerance(1e-12));
        }
}

// lambda_t = max(softplus(out(relu(hidden(k)))), floor) with all weights of a sort equal, so that a
// key's sum is all that counts.
BOOST_AUTO_TEST_CASE(the_reported_lambda) {
  Rng rng(6);
  VlaV1PenaltyBuilder builder({.attention = attention(2, 1).resolved(), .lambda_floor = 0.5}, rng);
  builder.lambda_hidden.weight.mutable_value().fill(0.5);
  builder.lambda_hidden.bias.mutable_value().fill(1);
  builder.lambda_out.weight.mutable_value().fill(0.25);
  builder.lambda_out.bias.mutable_value().fill(-1);
  const Var k = Var::parameter(Tensor::from<double>({1, 3, 1, 2}, {1, 3, -2, 0, -9, -9}));
  Tape tape;
  const Tensor lambda = builder.lambda(k);
  BOOST_REQUIRE(lambda.shape() == Shape({1, 3}));
  const auto close = boost::test_tools::tolerance(1e-12);
  // Eight hidden numbers relu(sum/2 + 1): 3, 0 and 0; out: 8/4 of it - 1: 5, -1 and -1.
  BOOST_TEST(lambda.at<double>({0, 0}) == std::log1p(std::exp(5.)), close);
  BOOST_TEST(lambda.at<double>({0, 1}) == 0.5);  // softplus(-1) = 0.31 is below the floor
  BOOST_TEST(lambda.at<double>({0, 2}) == 0.5);
}

BOOST_AUTO_TEST_CASE(the_reported_lambda_has_no_gradient) {
  Rng rng(4);
  VlaV1 layer({.attention = attention(4, 2)}, rng);
  const ParameterMap parameters = parameter_map(layer);
  const Tensor x = rng.normal({1, 3, 4}, kDouble);
  const LayerOutcome outcome =
      layer_outcome(parameters, x, [&](const Var& x, const auto&) { return layer(x); });
  for (const auto& [name, parameter] : parameters)
    BOOST_TEST(outcome.gradients.contains(name) == (name.find("lambda") == std::string::npos),
               name);
}

// A network that cannot be computed is in the way of the report alone.
BOOST_AUTO_TEST_CASE(lambda_is_computed_only_where_it_is_reported) {
  Rng rng(4);
  VlaV1 layer({.attention = attention(4, 2)}, rng);
  const Var x(rng.normal({1, 3, 4}, kDouble));
  const Tensor before = layer.run(x).output.value();
  parameter_map(layer).at("penalty.lambda.out.weight").mutable_value() = Tensor({1, 2}, kDouble);
  check_close(layer(x).value(), before, 0);
  StreamState state;
  check_close(layer.stream(x, state).value(), before, 1e-14);
  BOOST_CHECK_THROW(layer.run(x), Error);
}

BOOST_AUTO_TEST_CASE(the_count_of_updates_is_reported) {
  Rng rng(4);
  VlaV1 layer({.attention = attention(4, 2), .rank = 2, .symbolic = 0.5}, rng);
  Tensor relations = Tensor::zeros({2, 3, 3}, kDouble);
  relations.mutable_values<double>()[4] = 1;  // in the first sequence token 1 to itself
  const VlaV1::Result result = layer.run(Var(rng.normal({2, 3, 4}, kDouble)), relations);
  BOOST_TEST(result.updates.values<Index>() == std::vector<Index>({4, 3}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_symbolic_weight_needs_relations) {
  Rng rng(4);
  VlaV1 layer({.attention = attention(4, 2), .symbolic = 0.5}, rng);
  const Var x(rng.normal({1, 3, 4}, kDouble));
  const auto missing =
      says("VLA v1: symbolic weight 0.5 needs the tokens or their relations (B, T, T)");
  BOOST_CHECK_EXCEPTION(layer(x), Error, missing);
  BOOST_CHECK_EXCEPTION(layer(x, Tensor()), Error, missing);
  BOOST_CHECK_EXCEPTION(layer.run(x), Error, missing);
  BOOST_CHECK_EXCEPTION(layer.diagnose(x, {}, {}), Error, missing);
  const Tensor tokens = Tensor::from<Index>({1, 3}, {5, 5, 2});
  check_close(layer(x, tokens).value(), layer.run(x, equal_tokens(tokens, kDouble)).output.value(),
              0);
}

// Also where the weight is 0 and they would not be looked at.
BOOST_AUTO_TEST_CASE(relations_that_do_not_fit_are_refused) {
  Rng rng(4);
  const Var x(rng.normal({1, 3, 4}, kDouble));
  for (const double symbolic : {0., 0.5}) {
    VlaV1 layer({.attention = attention(4, 2), .symbolic = symbolic}, rng);
    BOOST_CHECK_EXCEPTION(layer.run(x, Tensor::zeros({1, 3, 2}, kDouble)), Error,
                          says("symbolic penalty: relations (1, 3, 2) are not (1, 3, 3)"));
  }
}

BOOST_AUTO_TEST_CASE(options_that_are_not_allowed_are_named) {
  Rng rng(4);
  const auto make = [&](VlaV1Options o) { return [o, &rng] { VlaV1(o, rng); }; };
  BOOST_CHECK_EXCEPTION(
      make({.symbolic = -1})(), Error,
      says("VLA v1: symbolic weight -1 is not allowed; 0 or a finite number above it is needed"));
  BOOST_CHECK_EXCEPTION(
      make({.lambda_floor = NAN})(), Error,
      says("VLA v1: lambda floor nan is not allowed; 0 or a finite number above it is needed"));
  for (const DirectionKind kind : {DirectionKind::stacked, DirectionKind::separate})
    BOOST_CHECK_EXCEPTION(make({.directions = kind, .rank = -1})(), Error,
                          says("VLA v1: rank -1 is negative; 0 or more is allowed"));
  BOOST_CHECK_EXCEPTION(
      make({.recurrence = {.lambda0 = -1}})(), Error,
      says("stabilized_recurrence: lambda0 is -1; a finite number above 0 is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
