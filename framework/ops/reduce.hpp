// Reductions over axes. Without axes: over all of them, to a scalar. Negative axes count from the
// end; an axis named twice or out of range throws Error.
#pragma once

#include <vector>

#include "framework/tape.hpp"

namespace vla {

/// The shape of what a reduction gives.
struct ReduceOptions {
  bool keep = false;  ///< keep the reduced axes with size 1
};

/// Sum; 0 over no elements.
Var sum(const Var& x, const std::vector<int>& axes = {}, ReduceOptions options = {},
        CallSite site = CallSite::here());
/// Mean. Throws Error over no elements.
Var mean(const Var& x, const std::vector<int>& axes = {}, ReduceOptions options = {},
         CallSite site = CallSite::here());
/// Largest element; equal largest elements share the gradient evenly. Throws Error over no
/// elements.
Var max(const Var& x, const std::vector<int>& axes = {}, ReduceOptions options = {},
        CallSite site = CallSite::here());
/// Euclidean norm, scaled so that it neither overflows nor underflows; its gradient at 0 is 0.
Var norm(const Var& x, const std::vector<int>& axes = {}, ReduceOptions options = {},
         CallSite site = CallSite::here());
/// Running sum along one axis: y_t = x_0 + ... + x_t.
Var cumulative_sum(const Var& x, int axis, CallSite site = CallSite::here());

/// The sum of x over the axes that broadcasting from `shape` to x's shape repeated: the gradient
/// of broadcasting. A tensor, for backward rules.
Tensor sum_to_shape(const Tensor& x, const Shape& shape);

}  // namespace vla
