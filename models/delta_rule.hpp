// The memory of every linear mixer: a matrix S that maps keys to values, corrected at each token by
// the error it makes.
#pragma once

#include "framework/tape.hpp"
#include "models/operator_form.hpp"

namespace vla {

/// What the delta rule is given. B sequences, T tokens, H heads, key width d, value width d_v.
struct DeltaRuleInputs {
  Var query = {};  // q (B, T, H, d)
  Var key = {};    // k (B, T, H, d): reads the memory before it is written; undefined: no read
  Var coefficient = {};    // alpha (B, T, H, d): the direction in which the error is written
  Var value = {};          // v (B, T, H, d_v)
  Var gate = {};           // g (B, T, H, d_v), multiplies the rows of S; undefined: 1
  Var initial_state = {};  // S_0 (B, H, d_v, d); undefined: 0
};

/// How the delta rule runs.
struct DeltaRuleOptions {
  OperatorForm form = OperatorForm::automatic;  ///< chunk, but with a gate
  Index chunk = 0;                              ///< tokens in a chunk; 0: the usual
};

/// What it gives.
struct DeltaRuleResult {
  Var output;       // o (B, T, H, d_v)
  Var final_state;  // S_T (B, H, d_v, d)
};

/// At every token, from S_0 on:
///
///   e_t = v_t - S_{t-1} k_t
///   S_t = diag(g_t) S_{t-1} + e_t alpha_t^T
///   o_t = S_t q_t
///
/// VLA has alpha = beta A k, DeltaNet alpha = beta k, linear attention no key (e = v) and alpha =
/// k. One node on the tape; saves its inputs, e (which is v without a key), and S at every chunk,
/// or every kDeltaRuleSegment tokens in step form. bfloat16 inputs are computed with in float32:
/// the output is bfloat16 again, the state float32. By chunks on CUDA, float32 and bfloat16 with
/// widths up to 128 go through the tensor cores: relative errors of results and gradients to 1e-5
/// in float32; in bfloat16, where e and the S of chunks are rounded, to 6e-3 and 1.5e-2. Throws
/// Error for shapes that do not fit, and where a gate is to go by chunks.
DeltaRuleResult delta_rule(const DeltaRuleInputs& inputs, const DeltaRuleOptions& options = {},
                           CallSite site = CallSite::here());

/// Tokens between two saved states: backward recomputes the states in between.
inline constexpr Index kDeltaRuleSegment = 16;

/// The same composed of primitive ops, one token after the other: the specification.
DeltaRuleResult composed_delta_rule(const DeltaRuleInputs& inputs);

}  // namespace vla
