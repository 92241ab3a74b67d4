// The linear transformer as a layer, against the layer written anew from its formula, with guards
// of the denominator that act.

#include "models/linear_transformer/linear_transformer.hpp"

#include "framework/gradcheck.hpp"
#include "tests/layer_reference.hpp"

namespace vla {
namespace {

constexpr auto kDouble = DType::float64;

LinearTransformerOptions options(Index width, Index heads, DenominatorGuard guard, double value) {
  return {.attention = {.width = width, .heads = heads, .convolution = 0, .dtype = kDouble},
          .guard = guard,
          .guard_value = value};
}

// o_t = sum_{s<=t} v_s (phi(k_s) . phi(q_t)) over the guarded z_t . phi(q_t).
Var reference(const LinearTransformerOptions& o, const Var& x, const ParameterMap& parameters) {
  const Index heads = o.attention.heads;
  const Var q = elu_plus_one(head_map(parameters, "query", x, heads));
  const Var k = elu_plus_one(head_map(parameters, "key", x, heads));
  const Var v = head_map(parameters, "value", x, heads);
  Var memory = v;
  if (x.size(1) > 0) {
    std::vector<Var> rows;
    for (Index t = 0; t < x.size(1); ++t) {
      const Var weights = sum(slice(k, 1, 0, t + 1) * slice(q, 1, t, t + 1), {-1}, {.keep = true});
      rows.push_back(sum(weights * slice(v, 1, 0, t + 1), {1}, {.keep = true}));
    }
    const Var weight = linear_weights(q, k);
    memory = concat(rows, 1) / (o.guard == DenominatorGuard::add ? weight + o.guard_value
                                                                 : raised(weight, o.guard_value));
  }
  return affine(parameters, "output", reshape(memory, x.shape().sizes()));
}

LayerOutcome outcome_of(const LinearTransformerOptions& o, const Tensor& x) {
  Rng rng(4);
  LinearTransformer layer(o, rng);
  return layer_outcome(parameter_map(layer), x,
                       [&](const Var& x, const auto&) { return layer(x); });
}

void compare(const LinearTransformerOptions& o, Index time) {
  Rng rng(4);
  LinearTransformer layer(o, rng);
  const Tensor x = input_with_zero_token(2, time, o.attention.width);
  check_layers_close(outcome_of(o, x),
                     layer_outcome(parameter_map(layer), x, [&](const Var& x, const auto& all) {
                       return reference(o, x, all);
                     }));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(linear_transformer)

// z . phi(q) grows with t: the floor 8 is reached by the first tokens only, 1e4 by all.
BOOST_AUTO_TEST_CASE(the_guarded_layer_is_its_formula) {
  const Tensor x = input_with_zero_token(2, 6, 6);
  const LayerOutcome plain = outcome_of(options(6, 2, DenominatorGuard::floor, 1e-6), x);
  for (const auto& o :
       {options(6, 2, DenominatorGuard::floor, 8), options(6, 2, DenominatorGuard::floor, 1e4),
        options(6, 2, DenominatorGuard::add, 3)}) {
    BOOST_TEST_CONTEXT("guard " << int(o.guard) << " of " << o.guard_value) {
      compare(o, 6);
      BOOST_TEST(relative_difference(outcome_of(o, x).output, plain.output) > 1e-3);
      const auto function = [&](const std::vector<Var>& inputs) {
        Rng rng(4);
        LinearTransformer layer(o, rng);
        return layer(inputs[0]);
      };
      BOOST_CHECK_NO_THROW(gradcheck("linear transformer", function, {x}));
    }
  }
}

BOOST_AUTO_TEST_CASE(edges) {
  for (const DenominatorGuard guard : {DenominatorGuard::floor, DenominatorGuard::add}) {
    for (Index time : {0, 1}) compare(options(6, 2, guard, 4), time);
    compare(options(3, 3, guard, 2), 4);  // d = 1
  }
  compare(options(6, 2, DenominatorGuard::add, 0), 4);
}

BOOST_AUTO_TEST_CASE(guards_that_are_not_allowed_are_named) {
  Rng rng(4);
  const auto refused = [&](DenominatorGuard guard, double value, const std::string& message) {
    BOOST_CHECK_EXCEPTION(LinearTransformer(options(6, 2, guard, value), rng), Error,
                          says("linear transformer: guard_value " + message));
  };
  const std::string floor = "is not allowed as a denominator's floor; a finite number above 0 ";
  const std::string addend =
      "is not allowed as a denominator's addend; 0 or a finite number above it ";
  refused(DenominatorGuard::floor, 0, "0 " + floor + "is needed");
  refused(DenominatorGuard::floor, INFINITY, "inf " + floor + "is needed");
  refused(DenominatorGuard::add, -1, "-1 " + addend + "is needed");
  refused(DenominatorGuard::add, NAN, "nan " + addend + "is needed");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
