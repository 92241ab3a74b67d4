// The kernels of convolution.cpp on CUDA; they are in convolution.cu. x (B, T, D); the weight (D,
// taps) is of the type that x is computed in: float32 where x is bfloat16.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

void causal_convolution(const Tensor& x, const Tensor& weight, Tensor& y);
void causal_convolution_gradient_x(const Tensor& dy, const Tensor& weight, Tensor& dx);
void causal_convolution_gradient_weight(const Tensor& dy, const Tensor& x, Tensor& dweight);

}  // namespace vla::cuda
