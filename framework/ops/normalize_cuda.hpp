// The kernels of normalize.cpp on CUDA; they are in normalize.cu. Parameters, their gradients and
// what is kept of each row are of the type that x is computed in: float32 where x is bfloat16.
#pragma once

#include "framework/ops/rows.hpp"
#include "framework/tensor.hpp"

namespace vla::cuda {

/// y, and into `moments` (rows, 2) the mean and rate of each row.
void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, Rows rows,
                double epsilon, Tensor& y, Tensor& moments);
void layer_norm_gradient_x(const Tensor& dy, const Tensor& x, const Tensor& weight,
                           const Tensor& moments, Rows rows, Tensor& dx);
void layer_norm_gradient_parameters(const Tensor& dy, const Tensor& x, const Tensor& moments,
                                    Rows rows, Tensor& dweight, Tensor& dbias);

/// y, and into `rates` (rows) the rate of each row.
void rms_norm(const Tensor& x, const Tensor& weight, Rows rows, double epsilon, Tensor& y,
              Tensor& rates);
void rms_norm_gradient_x(const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& rates, Rows rows, Tensor& dx);
void rms_norm_gradient_weight(const Tensor& dy, const Tensor& x, const Tensor& rates, Rows rows,
                              Tensor& dweight);

/// y, and into `lengths` (rows) the length of each row, or 0 where the floor was the divisor.
void unit(const Tensor& x, Rows rows, double floor, Tensor& y, Tensor& lengths);
void unit_gradient(const Tensor& dy, const Tensor& y, const Tensor& lengths, Rows rows,
                   double floor, Tensor& dx);

}  // namespace vla::cuda
