// The kernels of arithmetic.cpp on CUDA; they are in arithmetic.cu.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

/// y = Function::value(a, b), both broadcast to y's shape; of one floating type.
template <class Function>
struct Binary {
  static void combine(const Tensor& a, const Tensor& b, Tensor& y);
};

/// The elements of x, of any type, repeated to y's shape.
void broadcast(const Tensor& x, Tensor& y);
/// a where the mask is not zero, b elsewhere; all of one shape.
void select(const Tensor& mask, const Tensor& a, const Tensor& b, Tensor& y);
/// dy where the mask is not zero (side true) or is (side false), 0 elsewhere.
void select_gradient(const Tensor& mask, bool side, const Tensor& dy, Tensor& dx);

}  // namespace vla::cuda
