// The recurrence of the published VLA layers, with every one of its stabilisers.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// Constants of the recurrence; those of version 1 by default.
struct StabilizedOptions {
  double lambda0 = 1;            ///< A_0 = I / lambda0, without a gradient
  double fallback_below = 1e-6;  ///< |delta| under it: A + fallback I in place of the update
  double delta_floor = 1e-6;     ///< delta is raised to it, and is then a constant
  Index nudge_period = 50;       ///< updates between nudges A + nudge I; 0: never
  double nudge = 1e-5;
  bool unit_coefficient = false;     ///< alpha = unit(A k) in place of A k
  double unit_floor = 1e-12;         ///< of that unit()
  bool read_through_inverse = true;  ///< o = S A q in place of S q
  double error_clip = 10;            ///< e longer than it is shortened to it; 0: never
  double renormalize_above = 0;      ///< S / |S| where |S| (Frobenius) exceeds it; 0: never
  double guard_above = 1000;         ///< A + guard I where |S| or |A| exceeds it; 0: never
  double guard = 1e-5;
};

/// B sequences, T tokens, H heads, r directions per token, key width d, value width d_v.
struct StabilizedInputs {
  Var query;           // q (B, T, H, d)
  Var key;             // k (B, T, H, d)
  Var value;           // v (B, T, H, d_v)
  Var directions;      // u (B, T, H, r, d)
  Var symbolic = {};   // a (B, T, H, d): one more update at tokens that are active; undefined: none
  Tensor active = {};  // uint8 (B, T)
  Tensor initial_inverse = {};  // A before the first token (B, H, d, d); undefined: I / lambda0
  Tensor initial_memory = {};   // S before the first token (B, H, d_v, d); undefined: 0
  Index updates = 0;            // counted before the first token, for the nudge
};

struct StabilizedResult {
  Var output;      // o (B, T, H, d_v)
  Tensor inverse;  // A after the last token (B, H, d, d)
  Tensor memory;   // S after the last token (B, H, d_v, d)
};

/// Per token: an update A - z z^T / delta (z = A u, delta = 1 + u.z) for each direction, the nudge
/// when the count of updates is divisible by its period (the directions of one token are one
/// update), the same for the symbolic direction; then
///
///   alpha = A k,  e = clip(v - S k),  S += e alpha^T,  renormalise S,  guard A,  o = S A q
///
/// with unit alpha and o = S q as the options say. One node on the tape with the analytic gradient
/// through every stabiliser; saves its inputs and A, S at every 16 tokens.
/// Throws Error for shapes that do not fit.
StabilizedResult stabilized_recurrence(const StabilizedInputs& inputs,
                                       const StabilizedOptions& options,
                                       CallSite site = CallSite::here());

/// The same composed of primitive ops: the specification.
StabilizedResult composed_stabilized_recurrence(const StabilizedInputs& inputs,
                                                const StabilizedOptions& options);

}  // namespace vla
