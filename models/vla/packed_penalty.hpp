// The penalty M and its inverse A as tokens read and write them that are taken one by one.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

/// M and A are symmetric, so that half of each says it all, and both have room in one float32
/// matrix. Of M that is only what the last tokens added: the rest is in float64, because rounding
/// as small as lambda0 would end it, and is left alone until A is next formed of it.
struct PackedPenalty {
  Tensor penalty = {};   // M when A was last formed of it (B, H, d, d), float64
  Tensor matrix = {};    // (B, H, d, d), float32: A on and below the diagonal, above it what M has
                         // gained since
  Tensor diagonal = {};  // of what M has gained (B, H, d), float32

  /// False before anything was packed.
  bool defined() const { return matrix.defined(); }
};

inline constexpr Index kWidestPacked = 128;

/// M (B, H, d, d), float64 and on CUDA, with the inverse that is formed of it; d up to
/// kWidestPacked. An M that is not positive definite is reported as inverse_penalty reports it.
PackedPenalty pack(const Tensor& penalty);
/// M (B, H, d, d), float64, on the device where it was.
Tensor unpack(const PackedPenalty& packed);

}  // namespace vla
