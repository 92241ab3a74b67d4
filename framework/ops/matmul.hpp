// Matrix products.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// Whether the last two axes of a side are exchanged before the product.
struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};

/// The matrix product over the last two axes, each side transposed or not. Both sides have the
/// same leading axes, or one side has none and is used for every matrix of the other.
/// a (..., M, K) x b (..., K, N) -> (..., M, N). Throws Error when inner sizes differ.
Var matmul(const Var& a, const Var& b, MatmulOptions options = {},
           CallSite site = CallSite::here());

/// x W^T + b: x (..., in), weight (out, in), bias (out) or none -> (..., out). On CUDA x may be
/// bfloat16 with weight and bias of float32: then the product is of bfloat16, summed in float32,
/// and so is the result, while the parameters' gradients are float32.
Var linear(const Var& x, const Var& weight, const Var& bias = {}, CallSite site = CallSite::here());

/// What products of float32 are multiplied in on CUDA: float32 itself, or tf32, which keeps 11
/// significant bits of each factor and is several times as fast. For the whole program; float32 at
/// first.
enum class MatmulPrecision { float32, tf32 };
/// The one that is set.
MatmulPrecision matmul_precision();
/// Sets it, for every thread.
void set_matmul_precision(MatmulPrecision precision);

}  // namespace vla
