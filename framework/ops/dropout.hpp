// Dropout.
#pragma once

#include "framework/random.hpp"
#include "framework/tape.hpp"

namespace vla {

/// How much is dropped, and whether anything is.
struct DropoutOptions {
  double rate = 0;  ///< probability of an element to be zeroed, 0 <= rate < 1
  bool train = false;
};

/// Zeroes each element with probability `rate` and multiplies the others by 1 / (1 - rate); x
/// itself when not training or at rate 0. Draws one word of `rng` per element, none otherwise.
/// Throws Error for a rate that is not allowed.
Var dropout(const Var& x, DropoutOptions options, Rng& rng, CallSite site = CallSite::here());

}  // namespace vla
