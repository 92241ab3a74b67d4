// The kernels of reduce.cpp on CUDA; they are in reduce.cu.
#pragma once

#include "framework/ops/folds.hpp"

namespace vla::cuda {

/// y (outer, inner) = the fold of x (outer, length, inner) along `length`; the fold's start where
/// that is 0. The types of x and y may differ. Long runs are folded in parts, and the parts in
/// float64.
void reduce_run(SumFold, const Tensor& x, const FoldRun& run, Tensor& y);
void reduce_run(MaxFold, const Tensor& x, const FoldRun& run, Tensor& y);

/// Running sums, held in float64, along `length`; backwards in it if `reverse`.
void running_sum(const Tensor& x, const FoldRun& run, bool reverse, Tensor& y);

/// y = a / b, and 0 where b is 0; all of one shape and type.
void quotient_or_zero(const Tensor& a, const Tensor& b, Tensor& y);
/// y = 1 where a equals b, 0 elsewhere; all of one shape and type.
void equal(const Tensor& a, const Tensor& b, Tensor& y);
/// What is 0 or infinite becomes 1.
void make_divisors(Tensor& values);

}  // namespace vla::cuda
