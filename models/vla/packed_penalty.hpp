// The penalty M and its inverse A in the room of one float32 matrix: what a decoded token reads and
// writes of them.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

/// Both are symmetric, so that half of each says it all. Float32 is enough while A is formed anew
/// from M now and then: see the README, "Precision".
struct PackedPenalty {
  Tensor matrix = {};    // (B, H, d, d), float32: A on and below the diagonal, M above it
  Tensor diagonal = {};  // of M (B, H, d), float32

  bool defined() const { return matrix.defined(); }
};

inline constexpr Index kWidestPacked = 128;

/// M (B, H, d, d), float64 and on CUDA, with the inverse that is formed of it; d up to
/// kWidestPacked. An M that is not positive definite is reported as inverse_penalty reports it.
PackedPenalty pack(const Tensor& penalty);
/// M (B, H, d, d), float64, on the device where it was.
Tensor unpack(const PackedPenalty& packed);

}  // namespace vla
