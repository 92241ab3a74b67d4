#include "models/linear_transformer/linear_transformer.hpp"

#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"

namespace vla {

LinearTransformer::LinearTransformer(const LinearTransformerOptions& options, Rng& rng)
    : options_(options), projections_(options.attention.resolved(), rng) {}

MemoryInputs LinearTransformer::memory_inputs(const Var& x) const {
  const Var q = elu_plus_one(projections_.query(x)), k = elu_plus_one(projections_.key(x));
  const Var weight = sum(cumulative_sum(k, 1) * q, {-1}, {.keep = true});
  const Var denominator =
      options_.guard == DenominatorGuard::add
          ? weight + options_.guard_value
          : clamp(weight, options_.guard_value, std::numeric_limits<double>::infinity());
  return {.memory = {.query = q, .coefficient = k, .value = projections_.value(x)},
          .denominator = denominator};
}

Var LinearTransformer::operator()(const Var& x) {
  const MemoryInputs inputs = memory_inputs(x);
  const Var o = delta_rule(inputs.memory, {.form = options_.form}).output / inputs.denominator;
  return projections_.output(merge_heads(o));
}

Diagnostics LinearTransformer::diagnose(const Var& x, const Tensor&,
                                        const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  return vla::diagnose(memory_inputs(x), options);
}

void LinearTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
