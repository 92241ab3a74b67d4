// The delta rule on CUDA; it is in delta_rule_step.cu and delta_rule_chunk.cu. The arrays are on
// the device.
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

}  // namespace vla::cuda
