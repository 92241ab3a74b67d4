// The kernels of matmul.cpp on CUDA; they are in matmul.cu.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

/// Every row of y (..., out) becomes `bias` (out), which is of y's type or float32.
void fill_rows(const Tensor& bias, Tensor& y);

}  // namespace vla::cuda
