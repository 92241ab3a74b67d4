// The relations of tokens on CUDA; they are in symbolic_penalty.cu.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

/// weights (B, T, T) <- the relations up to each token, normalised, active (B, T) <- whether a
/// token has any; they start at 0. Reports relations that are negative or not finite.
void normalize_relations(const Tensor& relations, Tensor& weights, Tensor& active);

/// relations (B, T, T) <- 1 where the tokens (B, T) are equal, 0 elsewhere.
void relate_equal_tokens(const Tensor& tokens, Tensor& relations);

}  // namespace vla::cuda
