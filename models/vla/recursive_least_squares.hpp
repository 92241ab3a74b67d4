// Weighted recursive least squares as one operator: what exact VLA does between its projections.
#pragma once

#include "framework/tape.hpp"
#include "models/vla/packed_penalty.hpp"

namespace vla {

/// What recursive least squares is given. B sequences, T tokens, H heads, key width d, value width
/// d_v.
struct LeastSquaresInputs {
  Var query = {};    // q (B, T, H, d)
  Var key = {};      // k (B, T, H, d)
  Var value = {};    // v (B, T, H, d_v)
  Var weight = {};   // beta (B, T, H), >= 0
  Var lambda0 = {};  // (H), > 0
};

/// What it gives.
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
/// memory and penalty.
///
/// The fused node adds up chunks of 64 tokens in float64, but goes through a chunk in float32 (with
/// bfloat16 inputs in 16 bits). Where a sequence has so few different keys that M's condition
/// number, sum of beta / lambda0 of one key, comes to 10^6, o is wrong by a percent and the
/// gradients of keys are useless (kernels.md has a table). For backward it keeps 8 bytes a token,
/// head and column, see recursive_least_squares_cuda.hpp.
///
/// Throws Error for shapes that do not fit. Keys that are not finite, a weight that is not 0 or
/// more and lambda0 <= 0 are reported as inverse_penalty reports them; queries and values are not
/// looked at.
LeastSquaresResult recursive_least_squares(const LeastSquaresInputs& inputs,
                                           CallSite site = CallSite::here());

/// The same composed of inverse_penalty and delta_rule: the specification.
LeastSquaresResult composed_least_squares(const LeastSquaresInputs& inputs,
                                          CallSite site = CallSite::here());

/// Throws Error for shapes, types and devices that do not fit.
void check_least_squares(const LeastSquaresInputs& inputs);

/// Whether there are kernels for such inputs: on CUDA, more than kFewTokens tokens, and widths of
/// at most 128 in bfloat16 and 64 in float32 (as the device's shared memory allows).
bool has_fused_least_squares(const LeastSquaresInputs& inputs);

/// Where sequences stand between steps.
struct LeastSquaresState {
  PackedPenalty penalty = {};  // undefined: sequences begin, M = lambda0 I and S = 0
  Tensor memory = {};          // S (B, H, d_v, d), float32
  Index tokens = 0;            // of each sequence so far
};

/// What steps give: output and where sequences stand after it.
struct LeastSquaresSteps {
  Tensor output;  // o (B, T, H, d_v)
  LeastSquaresState state;
};

/// The same from a state on, token by token and without gradients: for writing, where a step takes
/// as long as reading and writing the state. Every 64 tokens of the whole sequence A is formed anew
/// from M, since errors of steps add up: whether that is due is decided here and not by the kernel,
/// so that a captured step, replayed, never does it. Problems are reported as above; Error for
/// inputs that has_least_squares_steps refuses or a state that does not fit them.
LeastSquaresSteps least_squares_steps(const LeastSquaresInputs& inputs,
                                      const LeastSquaresState& initial);

/// Whether there are steps for such inputs: on CUDA, at most kFewTokens tokens, widths of at most
/// kWidestPacked in bfloat16 or float32, and nothing that a tape records.
bool has_least_squares_steps(const LeastSquaresInputs& inputs);

}  // namespace vla
