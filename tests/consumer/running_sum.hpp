// A primitive from outside of vla, with kernels for the CPU and for CUDA.
#pragma once

#include "framework/framework.hpp"

/// y_t = x_1 + ... + x_t along the last axis of x, of any shape with one axis or more; float32 or
/// float64. Throws vla::Error for another x.
vla::Var running_sum(const vla::Var& x, vla::CallSite site = vla::CallSite::here());

/// The kernel in running_sum.cu: sums rows from their beginning, or from their end.
void running_sum_on_cuda(const vla::Tensor& x, vla::Tensor& y, bool from_end);
