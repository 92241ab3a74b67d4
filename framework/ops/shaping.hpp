// Ops that move elements and change none.
#pragma once

#include <vector>

#include "framework/tape.hpp"

namespace vla {

/// The same elements in row-major order under another shape, without a copy; one size may be -1.
Var reshape(const Var& x, std::vector<Index> sizes, CallSite site = CallSite::here());
/// Axis i of the result is axis axes[i] of x; copies.
Var permute(const Var& x, const std::vector<int>& axes, CallSite site = CallSite::here());
/// The part begin <= i < end along an axis; copies. Throws Error unless 0 <= begin <= end <= size.
Var slice(const Var& x, int axis, Index begin, Index end, CallSite site = CallSite::here());
/// The parts one after the other along an existing axis.
Var concat(const std::vector<Var>& parts, int axis, CallSite site = CallSite::here());
/// The parts, all of one shape, along a new axis.
Var stack(const std::vector<Var>& parts, int axis, CallSite site = CallSite::here());
/// Scores (..., T, T), row t the query: entries to the right of the diagonal become -infinity.
Var causal_mask(const Var& scores, CallSite site = CallSite::here());

}  // namespace vla
