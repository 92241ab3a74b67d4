#include "models/linear_transformer/linear_transformer.hpp"

#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "models/delta_rule.hpp"

namespace vla {

LinearTransformer::LinearTransformer(const LinearTransformerOptions& options, Rng& rng)
    : options_(options), projections_(options.attention.resolved(), rng) {}

Var LinearTransformer::operator()(const Var& x) {
  const Var q = elu_plus_one(projections_.query(x)), k = elu_plus_one(projections_.key(x));
  const Var memory = delta_rule({.query = q, .coefficient = k, .value = projections_.value(x)},
                                {.form = options_.form})
                         .output;
  const Var weight = sum(cumulative_sum(k, 1) * q, {-1}, {.keep = true});
  const Var denominator =
      options_.guard == DenominatorGuard::add
          ? weight + options_.guard_value
          : clamp(weight, options_.guard_value, std::numeric_limits<double>::infinity());
  return projections_.output(merge_heads(memory / denominator));
}

void LinearTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
