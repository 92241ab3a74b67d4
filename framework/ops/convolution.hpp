// Convolution along time.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// Causal depthwise convolution: y[b,t,c] = sum_j weight[c,j] x[b, t-(w-1)+j, c], with zeros
/// before the start. x (B, T, D), weight (D, w); tap w-1 reads the current token.
/// Throws Error unless there is a tap.
Var causal_convolution(const Var& x, const Var& weight, CallSite site = CallSite::here());

}  // namespace vla
