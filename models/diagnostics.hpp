// What can be seen of a linear mixer's memory while it reads a sequence: a pass of its own over the
// inputs of the mixer's core, in float64, so that a layer which is not asked pays nothing.
#pragma once

#include "models/delta_rule.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/stabilized_recurrence.hpp"

namespace vla {

/// What is computed, beyond what costs little.
struct DiagnosticsOptions {
  Index every = 1;    ///< eigenvalues, O(d^3) each, at tokens 0, every, 2 every, ...
  bool maps = false;  ///< the T x T maps too: O(T^2 d) a head
};

/// Per sequence b, token t and head h, float64; N = ceil(T / every). A tensor is undefined where
/// the mixer has no such quantity, or where it was not asked for.
struct Diagnostics {
  // Of a mixer with a penalty.
  Tensor times = {};             ///< int64 (N): the tokens with eigenvalues
  Tensor eigenvalues = {};       ///< of A_t, ascending (B, N, H, d); NaN where A_t is not finite
  Tensor condition = {};         ///< of A_t, largest over smallest |eigenvalue| (B, N, H)
  Tensor inverse_norm = {};      ///< |A_t|, Frobenius (B, T, H)
  Tensor inverse = {};           ///< A_t of the last token (B, H, d, d)
  Tensor penalty_strength = {};  ///< sum of weight u^T A u over the token's directions (B, T, H),
                                 ///< A after forgetting and before the token's first update

  // Of a mixer with a memory S.
  Tensor error_norm = {};         ///< |v_t - S_{t-1} k_t|, before a clip (B, T, H)
  Tensor memory_norm = {};        ///< |S_t|, Frobenius (B, T, H)
  Tensor transition_norm = {};    ///< spectral norm of what S_{t-1} is multiplied by (B, T, H)
  Tensor transition_radius = {};  ///< its spectral radius (B, T, H)

  // With `maps`, (B, T, H, T): [b, t, h, i] is for read t of what token i wrote, 0 where i > t.
  Tensor survival = {};           ///< |alpha_i . q_t| |e_i|: what is left of the write
  Tensor attention = {};          ///< W with o_t = sum_i W[t, i] v_i, exactly; signed
  Tensor attention_entropy = {};  ///< of |W[t, .]| / sum |W[t, .]|, in nats (B, T, H); of 0: 0
};

/// What the core of a linear mixer is given: o_t = S_t q_t / denominator_t.
struct MemoryInputs {
  DeltaRuleInputs memory;  ///< without a gate, from S_0 = 0
  Var denominator = {};    ///< (B, T, H, 1); undefined: 1
  Penalty penalty = {};    ///< that A_t is the inverse of; no directions: no penalty
  Index restore_period = 0;
};

/// Diagnostics of exact VLA, DeltaNet and linear attention, from the start of a sequence. The
/// transition is I - k alpha^T, or I without a key. Throws Error for `every` or d under 1, a gate,
/// an initial state, and what the operators refuse. Records nothing.
Diagnostics diagnose(const MemoryInputs& inputs, const DiagnosticsOptions& options = {});

/// The same for the published layers, o_t divided by `denominator` (B, T, H, 1) if it is defined.
/// With a clip that scales e by c and a renormalisation that scales S by n the transition is
/// n (I - c k alpha^T), and the maps take c and n as given numbers; A_t is that of the read-out.
Diagnostics diagnose(const StabilizedInputs& inputs, const StabilizedOptions& recurrence,
                     const Var& denominator = {}, const DiagnosticsOptions& options = {});

/// Diagnostics::attention_entropy of weights (..., T).
Tensor attention_entropy(const Tensor& attention);

}  // namespace vla
