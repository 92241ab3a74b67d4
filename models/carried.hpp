// The memories that several mixers have, carried from one block of tokens to the next.
#pragma once

#include "models/delta_rule.hpp"
#include "models/stream_state.hpp"

namespace vla {

/// The element type of what is carried for inputs of `dtype`: sums over a whole sequence do not go
/// into bfloat16.
inline DType state_dtype(DType dtype) { return dtype == DType::bfloat16 ? DType::float32 : dtype; }

/// delta_rule, from the memory S that `carry` has as "memory" on; leaves the one after the last
/// token. The inputs have no initial state of their own.
DeltaRuleResult carried_delta_rule(DeltaRuleInputs inputs, const Carry& carry,
                                   const DeltaRuleOptions& options = {});

/// The sum of x (B, T, H, d) along time up to each token of the whole sequence, of the shape of x;
/// what was summed before the block, (B, H, d), is carried as "sum".
Var carried_sum(const Var& x, const Carry& carry);

}  // namespace vla
