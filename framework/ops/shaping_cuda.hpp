// The kernels of shaping.cpp on CUDA; they are in shaping.cu. Elements are of any type.
#pragma once

#include <vector>

#include "framework/tensor.hpp"

namespace vla::cuda {

/// Axis i of y is axis axes[i] of x.
void permute(const Tensor& x, const std::vector<int>& axes, Tensor& y);

/// Each of `outer` equal parts of y receives `count` elements at `to_offset` from `from_offset` of
/// the same part of x, on behalf of `op`. There is an outer part.
void copy_blocks(const char* op, const Tensor& x, Index from_offset, Tensor& y, Index to_offset,
                 Index count, Index outer);

/// Of floating x (..., size, size): what is right of the diagonal becomes `value`.
void lower_triangle(const Tensor& x, double value, Tensor& y);

}  // namespace vla::cuda
