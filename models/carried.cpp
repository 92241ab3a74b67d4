#include "models/carried.hpp"

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"

namespace vla {

DeltaRuleResult carried_delta_rule(DeltaRuleInputs in, const Carry& carry,
                                   const DeltaRuleOptions& options) {
  const Shape &q = in.query.shape(), &v = in.value.shape();
  const Tensor before = carry.take("memory", {q[0], q[2], v[-1], q[-1]},
                                   state_dtype(in.query.dtype()), in.query.device());
  if (before.defined()) in.initial_state = Var(before);
  const DeltaRuleResult result = delta_rule(in, options);
  carry.leave("memory", result.final_state.value());
  return result;
}

Var carried_sum(const Var& x, const Carry& carry) {
  if (x.dtype() == DType::bfloat16)
    return cast(carried_sum(cast(x, DType::float32), carry), DType::bfloat16);
  const Var sums = cumulative_sum(x, 1);
  if (!carry.streams()) return sums;
  const Tensor before = carry.take("sum", x.shape().without(1), x.dtype(), x.device());
  Tensor after = sum(detach(x), {1}).value();
  if (before.defined()) after.accumulate(before);
  carry.leave("sum", after);
  return before.defined() ? sums + Var(before.reshape(x.shape().with(1, 1))) : sums;
}

}  // namespace vla
