#include "models/linear_transformer/linear_transformer.hpp"

#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "models/carried.hpp"

namespace vla {

LinearTransformer::LinearTransformer(const LinearTransformerOptions& options, Rng& rng)
    : options_(options), projections_(options.attention.resolved(), rng) {}

Var LinearTransformer::advance(const Var& x, const Carry& carry) {
  const Var q = elu_plus_one(projections_.query(x, carry.within("query")));
  const Var k = elu_plus_one(projections_.key(x, carry.within("key")));
  const Var v = projections_.value(x, carry.within("value"));
  const Var memory = carried_delta_rule({.query = q, .coefficient = k, .value = v}, carry).output;
  const Var weight = sum(carried_sum(k, carry) * q, {-1}, {.keep = true});
  const Var denominator =
      options_.guard == DenominatorGuard::add
          ? weight + options_.guard_value
          : clamp(weight, options_.guard_value, std::numeric_limits<double>::infinity());
  return projections_.output(merge_heads(memory / denominator));
}

void LinearTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
