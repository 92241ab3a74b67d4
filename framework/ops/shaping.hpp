// Ops that move elements and change none, of any element type (causal_mask: floating).
// Negative axes count from the end; an axis out of range throws Error.
#pragma once

#include <vector>

#include "framework/tape.hpp"

namespace vla {

/// The same elements in row-major order under another shape, without a copy; one size may be -1:
/// what is left over. Throws Error unless the sizes hold as many elements as x.
Var reshape(const Var& x, std::vector<Index> sizes, CallSite site = CallSite::here());
/// The same elements as float32, float64 or bfloat16; without a copy where they are that already.
/// Throws Error unless both types are floating.
Var cast(const Var& x, DType dtype, CallSite site = CallSite::here());
/// Axis i of the result is axis axes[i] of x; copies. Throws Error unless every axis
/// is named once.
Var permute(const Var& x, const std::vector<int>& axes, CallSite site = CallSite::here());
/// The part begin <= i < end along an axis; copies. Throws Error unless 0 <= begin <= end <= size.
Var slice(const Var& x, int axis, Index begin, Index end, CallSite site = CallSite::here());
/// The parts one after the other along an existing axis. Throws Error if there are none, or unless
/// they agree in every other size, in element type and in device.
Var concat(const std::vector<Var>& parts, int axis, CallSite site = CallSite::here());
/// The parts along a new axis, which is at place `axis` of the result. Throws Error if there are
/// none, or unless they are of one shape, element type and device.
Var stack(const std::vector<Var>& parts, int axis, CallSite site = CallSite::here());
/// Scores (..., T, T), row t the query: entries to the right of the diagonal become -infinity.
/// Throws Error unless the last two axes exist and are of one size.
Var causal_mask(const Var& scores, CallSite site = CallSite::here());

}  // namespace vla
