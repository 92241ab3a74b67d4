#include "models/linear_transformer/linear_transformer.hpp"

#include <cmath>
#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/rows.hpp"
#include "framework/ops/shaping.hpp"
#include "models/carried.hpp"

namespace vla {
namespace {

const LinearTransformerOptions& checked(const LinearTransformerOptions& options) {
  const bool adds = options.guard == DenominatorGuard::add;
  check(std::isfinite(options.guard_value) && options.guard_value >= 0 &&
            (adds || options.guard_value > 0),
        "linear transformer: guard_value ", options.guard_value,
        " is not allowed as a denominator's ",
        adds ? "addend; 0 or a finite number above it" : "floor; a finite number above 0",
        " is needed");
  return options;
}

}  // namespace

LinearTransformer::LinearTransformer(const LinearTransformerOptions& options, Rng& rng)
    : options_(checked(options)), projections_(options.attention.resolved(), rng) {}

MemoryInputs LinearTransformer::memory_inputs(const Var& x, const Carry& carry) const {
  const Var q = elu_plus_one(projections_.query(x, carry.within("query")));
  const Var k = elu_plus_one(projections_.key(x, carry.within("key")));
  const Var v = projections_.value(x, carry.within("value"));
  const DType exact =
      accumulated_dtype(x.dtype());  // a sum over all tokens, in no less than float32
  const Var weight = sum(carried_sum(cast(k, exact), carry) * cast(q, exact), {-1}, {.keep = true});
  const Var denominator =
      options_.guard == DenominatorGuard::add
          ? weight + options_.guard_value
          : clamp(weight, options_.guard_value, std::numeric_limits<double>::infinity());
  return {.memory = {.query = q, .coefficient = k, .value = v}, .denominator = denominator};
}

Var LinearTransformer::advance(const Var& x, const Carry& carry) {
  const MemoryInputs inputs = memory_inputs(x, carry);
  const Var o = carried_delta_rule(inputs.memory, carry, {.form = options_.form}).output;
  const Var divided = cast(o, inputs.denominator.dtype()) / inputs.denominator;
  return projections_.output(merge_heads(cast(divided, x.dtype())));
}

Diagnostics LinearTransformer::diagnose(const Var& x, const Tensor&,
                                        const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  return vla::diagnose(memory_inputs(x, {}), options);
}

void LinearTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
