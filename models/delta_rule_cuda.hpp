// The delta rule on CUDA; it is in delta_rule_step.cu, delta_rule_chunk.cu and
// delta_rule_tensor_core.cu. The arrays are on the device.
#pragma once

#include "models/delta_rule_arrays.hpp"

namespace vla::cuda {

/// Token by token, a block of threads for each sequence and head.
template <class T>
void delta_rule_by_step(const DeltaRuleArrays<T>& in, const DeltaRuleOutputs<T>& out,
                        Device device);
template <class T>
void delta_rule_adjoint_by_step(const DeltaRuleArrays<T>& in, const T* errors, const T* states,
                                const T* output_gradient, const DeltaRuleGradients<T>& out,
                                Device device);

/// By chunks, likewise, with S (d_v, d) at every chunk. A chunk has kMostChunk tokens at most: what
/// `chunk_on_cuda` makes of the number that was asked for.
inline constexpr Index kMostChunk = 64;
inline Index chunk_on_cuda(Index chunk) { return chunk < kMostChunk ? chunk : kMostChunk; }
template <class T>
void delta_rule_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const DeltaRuleOutputs<T>& out,
                         Device device);
template <class T>
void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const T* errors,
                                 const T* states, const T* output_gradient,
                                 const DeltaRuleGradients<T>& out, Device device);

/// By chunks of kMostChunk tokens on the tensor cores, without a gate: for float32 and bfloat16, of
/// which the state is float32, and widths up to 128.
bool has_tensor_core_form(const DeltaRuleSizes& n, DType dtype, Device device);

/// The inputs, see DeltaRuleInputs; `key` and `initial_state` may be undefined.
struct DeltaRuleTensors {
  DeltaRuleSizes n;
  Tensor query, key, coefficient, value;
  Tensor initial_state;  // float32
};
struct DeltaRuleForward {
  Tensor output, final_state;
  // What backward needs: e, without a key v; S at every chunk; and for every chunk the transposed
  // inverse of I + tril(K Alpha^T, -1), undefined without a key.
  Tensor errors, states, inverses;
};
DeltaRuleForward delta_rule_on_tensor_cores(const DeltaRuleTensors& in);

struct DeltaRuleUpstream {
  Tensor output, final_state;
};
/// The gradients of the inputs; those that are undefined have none.
DeltaRuleTensors delta_rule_adjoint_on_tensor_cores(const DeltaRuleTensors& in,
                                                    const DeltaRuleForward& kept,
                                                    const DeltaRuleUpstream& upstream);

}  // namespace vla::cuda
