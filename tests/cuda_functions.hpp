// Elementwise functions of a user, and of tests, with kernels in cuda_functions.cu.
#pragma once

#include "framework/random.hpp"
#include "framework/tape.hpp"

namespace vla {

/// x sigmoid(x), written as a user would.
Var swish(const Var& x);
/// Word x of a random stream, and the number in [0, 1) made from it; x counts from 0.
Tensor random_words(const RandomState& state, const Tensor& x);
Tensor random_uniforms(const RandomState& state, const Tensor& x);

}  // namespace vla
