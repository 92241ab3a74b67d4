// The recurrence of the published VLA layers, with every one of its stabilisers.
#pragma once

#include "framework/tape.hpp"
#include "models/operator_form.hpp"
#include "models/vla/stabilized_options.hpp"

namespace vla {

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
  Tensor initial_updates = {};  // int64 (B): counted before the first token; undefined: 0
};

/// What the recurrence gives.
struct StabilizedResult {
  Var output;      // o (B, T, H, d_v)
  Tensor inverse;  // A after the last token (B, H, d, d)
  Tensor memory;   // S after the last token (B, H, d_v, d)
  Tensor updates;  // int64 (B): counted up to the last token, on which the next nudge depends
  OperatorForm form = OperatorForm::step;  // the one that ran
};

/// Per token: an update A - z z^T / delta (z = A u, delta = 1 + u.z) for each direction, the nudge
/// when the count of updates is divisible by its period (the directions of one token are one
/// update), the same for the symbolic direction; then
///
///   alpha = A k,  e = clip(v - S k),  S += e alpha^T,  renormalise S,  guard A,  o = S A q
///
/// with unit alpha and o = S q as the options say. A sequence that is cut goes on exactly from the
/// result's inverse, memory and updates; no gradient flows through those.
///
/// The step form is one node on the tape with the analytic gradient through every stabiliser; it
/// saves its inputs and A, S at every 16 tokens. The chunk form is `inverse_penalty` and
/// `delta_rule`, in matrix products: the same to rounding without nudge, clip, renormalisation,
/// guard and given A and S, since A then stays positive definite and no update falls back or is
/// clamped. bfloat16 inputs are computed with in float32: the output is bfloat16 again, the state
/// float32. Throws Error for shapes and element types that do not fit, options that are not
/// allowed, and the chunk form where it is not exact.
StabilizedResult stabilized_recurrence(const StabilizedInputs& inputs,
                                       const StabilizedOptions& options,
                                       OperatorForm form = OperatorForm::step,
                                       CallSite site = CallSite::here());

/// The same composed of primitive ops: the specification.
StabilizedResult composed_stabilized_recurrence(const StabilizedInputs& inputs,
                                                const StabilizedOptions& options);

}  // namespace vla
