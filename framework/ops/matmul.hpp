// Matrix products.
#pragma once

#include "framework/tape.hpp"

namespace vla {

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};

/// The matrix product over the last two axes, each side transposed or not. Both sides have the
/// same leading axes, or one side has none and is used for every matrix of the other.
/// a (..., M, K) x b (..., K, N) -> (..., M, N). Throws Error when inner sizes differ.
Var matmul(const Var& a, const Var& b, MatmulOptions options = {},
           CallSite site = CallSite::here());

/// x W^T + b: x (..., in), weight (out, in), bias (out) or none -> (..., out).
Var linear(const Var& x, const Var& weight, const Var& bias = {}, CallSite site = CallSite::here());

}  // namespace vla
