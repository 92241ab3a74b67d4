// y_t = A_t x_t with A_t the inverse of the accumulated penalty: the operator that makes VLA.
#pragma once

#include "framework/tape.hpp"
#include "models/operator_form.hpp"

namespace vla {

/// What the penalty is made of, per sequence b, token t and head h:
///   M_0 = lambda0 I,   M_t = gamma_t M_{t-1} + sum_m weight_{t,m} u_{t,m} u_{t,m}^T
struct Penalty {
  Var directions =
      {};            // u (B, T, H, r, d) with r >= 0 directions a token, or (B, T, H, d) for r = 1
  Var weights = {};  // (B, T, H, r), or (B, T, H) for r = 1; >= 0; undefined: 1
  Var forget = {};   // gamma (B, T, H), 0 < gamma <= 1; undefined: 1
  Var lambda0 = {};  // (H), > 0
};

/// Where a sequence stands: what its continuation needs to know of its past. Always float64,
/// because A amplifies rounding of M by its condition number; no gradient flows through it.
struct PenaltyState {
  Tensor penalty = {};  // M (B, H, d, d); undefined: a sequence begins, M = lambda0 I
  Tensor inverse = {};  // A (B, H, d, d), so that a single token needs no factorisation; undefined:
                        // formed from M
  Tensor kept = {};     // b (B, H): the product of gamma since the last restoration
  Index tokens = 0;     // so far
};

/// How the inverse penalty runs.
struct InversePenaltyOptions {
  /// Every so many tokens of the whole sequence, after the read-out, M <- M + (1 - b) lambda0 I, b
  /// the product of gamma since the last time; 0: never. Without it forgetting lets M shrink
  /// towards 0 in directions that see no input.
  Index restore_period = 0;
  OperatorForm form = OperatorForm::automatic;  ///< chunk, but for blocks of a few tokens
  Index chunk = 0;                              ///< tokens in a chunk; 0: by the rank
  PenaltyState initial = {};
};

/// What it gives.
struct InversePenaltyResult {
  Var output;  // y, of the shape of x
  PenaltyState state;
};

/// Applies A_t to the vectors of each token: x (B, T, H, d), or (B, T, H, n, d) for n of them. One
/// node on the tape, with the implicit adjoint of the inverse: saved are the inputs and, in chunk
/// form, y and one more vector per direction. Fastest where x and `directions` are the same
/// variable, as in exact VLA. On CUDA there are no chunks with forgetting, nor with restorations
/// from an initial state on: such penalties go by step, whatever the form. There, wrong values are
/// reported by the kernels and thrown when a value is next read. The usual penalty (one direction
/// and one vector a token, no forgetting, restoration or initial state, more than kFewTokens tokens
/// and widths of at most 128 in bfloat16 and 64 in float32, as the device's shared memory allows)
/// has kernels on tensor cores, which an explicit `chunk` avoids. Else bfloat16 inputs are computed
/// with in float32 and the output is bfloat16 again. Throws Error for shapes that do not fit,
/// lambda0 <= 0, gamma outside (0, 1], or a penalty that is not positive definite or not finite.
InversePenaltyResult inverse_penalty(const Var& x, const Penalty& penalty,
                                     const InversePenaltyOptions& options = {},
                                     CallSite site = CallSite::here());

/// The same composed of primitive ops, A by Sherman-Morrison steps on the tape: the specification.
/// From the start of a sequence only.
InversePenaltyResult composed_inverse_penalty(const Var& x, const Penalty& penalty,
                                              const InversePenaltyOptions& options = {});

}  // namespace vla
