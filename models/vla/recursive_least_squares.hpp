// Weighted recursive least squares as one operator: what exact VLA does between its projections.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// B sequences, T tokens, H heads, key width d, value width d_v.
struct LeastSquaresInputs {
  Var query = {};    // q (B, T, H, d)
  Var key = {};      // k (B, T, H, d)
  Var value = {};    // v (B, T, H, d_v)
  Var weight = {};   // beta (B, T, H), >= 0
  Var lambda0 = {};  // (H), > 0
};

struct LeastSquaresResult {
  Var output;      // o (B, T, H, d_v)
  Tensor memory;   // S after the last token (B, H, d_v, d)
  Tensor penalty;  // M after the last token (B, H, d, d), float64
};

/// At every token, from S = 0 and M = lambda0 I on:
///
///   M_t = M_{t-1} + beta_t k_t k_t^T,   alpha_t = beta_t M_t^-1 k_t,
///   S_t = S_{t-1} + (v_t - S_{t-1} k_t) alpha_t^T,   o_t = S_t q_t,
///
/// so that S_t minimises sum over s <= t of beta_s |v_s - S k_s|^2 + lambda0 |S|^2. On CUDA with
/// bfloat16 or float32 inputs and heads that are not too wide (see has_fused_least_squares) this is
/// one node on the tape, parallel over time; elsewhere composed_least_squares. The output has the
/// type of the inputs, the memory is float32 where they are bfloat16; no gradient flows through
/// memory and penalty. Throws Error for shapes that do not fit; a negative weight or lambda0 <= 0
/// is reported as inverse_penalty reports it.
LeastSquaresResult recursive_least_squares(const LeastSquaresInputs& inputs,
                                           CallSite site = CallSite::here());

/// The same composed of inverse_penalty and delta_rule: the specification.
LeastSquaresResult composed_least_squares(const LeastSquaresInputs& inputs,
                                          CallSite site = CallSite::here());

/// Whether there are kernels for such inputs: on CUDA, more than kFewTokens tokens, and widths of
/// at most 128 in bfloat16 and 64 in float32 (as the device's shared memory allows).
bool has_fused_least_squares(const LeastSquaresInputs& inputs);

}  // namespace vla
