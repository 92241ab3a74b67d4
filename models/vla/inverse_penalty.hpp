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

struct InversePenaltyOptions {
  /// Every so many tokens, after the read-out, M <- M + (1 - b) lambda0 I, b the product of gamma
  /// since the last time; 0: never. Without it forgetting lets M shrink towards 0 in directions
  /// that see no input.
  Index restore_period = 0;
  OperatorForm form = OperatorForm::step;  // automatic is chunk, which is exact here
};

struct InversePenaltyResult {
  Var output;      // y, of the shape of x
  Tensor penalty;  // M after the last token (B, H, d, d); no gradient flows through it
};

/// Applies A_t to the vectors of each token: x (B, T, H, d), or (B, T, H, n, d) for n of them. One
/// node on the tape, with the implicit adjoint of the inverse: nothing but the inputs is
/// saved. Throws Error for shapes that do not fit, lambda0 <= 0, gamma outside (0, 1], or a penalty
/// that is not positive definite.
InversePenaltyResult inverse_penalty(const Var& x, const Penalty& penalty,
                                     InversePenaltyOptions options = {},
                                     CallSite site = CallSite::here());

/// The same composed of primitive ops, A by Sherman-Morrison steps on the tape: the specification.
InversePenaltyResult composed_inverse_penalty(const Var& x, const Penalty& penalty,
                                              InversePenaltyOptions options = {});

}  // namespace vla
