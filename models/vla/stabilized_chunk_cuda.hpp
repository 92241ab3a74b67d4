// What the chunk form of the stabilised recurrence has of its own on CUDA; it is in
// stabilized_chunk.cu.
#pragma once

#include "models/vla/stabilized_recurrence.hpp"

namespace vla::cuda {

/// inverses <- M^-1 for each of the matrices M (B, H, d, d) of float64. Reports one that is not
/// positive definite.
void invert_penalties(const Tensor& penalties, Tensor& inverses);

/// updates (B), which start at the number of tokens, += those counted before the first token, and
/// the tokens whose symbolic direction is active.
void count_updates(const StabilizedInputs& in, Tensor& updates);

}  // namespace vla::cuda
