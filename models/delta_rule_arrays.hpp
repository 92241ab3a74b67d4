// The delta rule on plain arrays: what its step and its chunk form share.
#pragma once

#include "framework/host_device.hpp"
#include "framework/tensor.hpp"

namespace vla {

struct DeltaRuleSizes {
  Index batch, time, heads, key, value;
  VLA_HOST_DEVICE Index state() const { return value * key; }
};

/// The inputs, see DeltaRuleInputs; null where there is none.
template <class T>
struct DeltaRuleArrays {
  DeltaRuleSizes n;
  const T *q, *k, *alpha, *v, *g, *initial;
  VLA_HOST_DEVICE Index place(Index b, Index t, Index h) const {
    return (b * n.time + t) * n.heads + h;
  }
};

/// Where the gradients go; null where there is no such input. Those of q, k and alpha start at 0;
/// `state` (B, H, d_v, d) holds the gradient of the final state and becomes that of the initial.
template <class T>
struct DeltaRuleGradients {
  T *q, *k, *alpha, *v, *g, *state;
};

/// What forward leaves: o and e (B, T, H, d_v), the final state (B, H, d_v, d), and S at the
/// beginning of every so many tokens, as much of it as `saved_states` says. `errors` and `states`
/// may be null.
template <class T>
struct DeltaRuleOutputs {
  T *o, *errors, *states, *final_state;
};

/// Token by token, from the definition; with S at every kDeltaRuleSegment tokens.
template <class T>
void delta_rule_by_step(const DeltaRuleArrays<T>& in, const DeltaRuleOutputs<T>& out);
template <class T>
void delta_rule_adjoint_by_step(const DeltaRuleArrays<T>& in, const T* errors, const T* states,
                                const T* output_gradient, const DeltaRuleGradients<T>& out);
/// By chunks in matrix products, without a gate; with S at every chunk, padded.
template <class T>
void delta_rule_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const DeltaRuleOutputs<T>& out);
template <class T>
void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const T* errors,
                                 const T* states, const T* output_gradient,
                                 const DeltaRuleGradients<T>& out);
/// Numbers that `states` has in either form.
Index states_by_step(const DeltaRuleSizes& n);
Index states_by_chunk(const DeltaRuleSizes& n, Index chunk);

}  // namespace vla
