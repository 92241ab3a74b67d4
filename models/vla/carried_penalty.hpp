// What exact VLA takes over from the tokens before a block and leaves to those after it. It stands
// in one of two ways, by which operator came last: each finds its way from either.
#pragma once

#include "models/stream_state.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/recursive_least_squares.hpp"

namespace vla {

/// For keys (B, T, H, d).
PenaltyState carried_penalty(const Var& key, const Carry& carry);
void leave(const PenaltyState& state, const Carry& carry);

/// For inputs that has_least_squares_steps accepts.
LeastSquaresState carried_least_squares(const LeastSquaresInputs& inputs, const Carry& carry);
void leave(const LeastSquaresState& state, const Carry& carry);

}  // namespace vla
