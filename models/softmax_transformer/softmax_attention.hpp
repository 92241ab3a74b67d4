// Causal softmax attention of queries over keys and values, without its T^2 weights where it can.
// Source: Vaswani et al., "Attention is all you need", 2017.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// B sequences, H heads, T queries over T_k keys, key width d, value width d_v.
struct SoftmaxAttentionSizes {
  Index batch, heads, time, keys, key, value;
};

/// o_t = sum_s w_ts v_s with w_t = softmax of q_t . k_s / sqrt(d) over the keys s up to its own:
/// query (B, T, H, d), key (B, T_k, H, d), value (B, T_k, H, d_v) -> (B, T, H, d_v). The queries
/// are those of the last T of T_k >= T tokens. Throws Error for shapes that do not fit.
///
/// On CUDA, bfloat16 and float32 with widths up to 128: one node that saves its inputs, o and a
/// number per query, memory O(T). Otherwise composed_softmax_attention, memory O(T T_k).
///
/// Accuracy on CUDA, relative RMS: from bfloat16 6e-3 of o and 1.5e-2 of gradients at most, as
/// weights are rounded to 8 bits before they are multiplied; from float32 1e-5 and 2e-5.
Var softmax_attention(const Var& query, const Var& key, const Var& value,
                      CallSite site = CallSite::here());

/// The same composed of primitive ops: the specification.
Var composed_softmax_attention(const Var& query, const Var& key, const Var& value);

/// The weights w (B, H, T, T_k).
Var softmax_attention_weights(const Var& query, const Var& key);

}  // namespace vla
