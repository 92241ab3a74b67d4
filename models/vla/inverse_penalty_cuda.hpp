// The inverse penalty on CUDA; it is in inverse_penalty_step.cu and inverse_penalty_chunk.cu. The
// arrays are on the device. What is wrong with values the kernels report: see cuda/problem.hpp.
#pragma once

#include "models/vla/penalty_arrays.hpp"

namespace vla::cuda {

/// Whether there is no chunk form: where chunks would end depends on the values of gamma, which
/// only the device sees.
inline bool only_by_step(const Tensor& forget, const InversePenaltyOptions& options) {
  return forget.defined() || (options.restore_period > 0 && options.initial.kept.defined());
}

/// Token by token, a block of threads for each sequence and head; A and M are float64.
template <class T>
void apply_by_step(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last,
                   Device device);
template <class T>
void adjoint_by_step(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                     const PenaltyGradients<T>& out, Device device);

/// In chunks, a block for each segment of a few, at whose start A is formed from M in float64.
/// `factors`, which may be null, get a layout that only adjoint_by_chunk knows.
template <class T>
void apply_by_chunk(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last,
                    PenaltyFactors* factors, Device device);
template <class T>
void adjoint_by_chunk(const PenaltyArrays<T>& in, const T* x, const T* y, const T* upstream,
                      const PenaltyFactors& factors, const PenaltyGradients<T>& out, Device device);

/// sums (H) <- parts (B, H) added up.
template <class T>
void sum_over_batch(const T* parts, const PenaltySizes& n, T* sums, Device device);

}  // namespace vla::cuda
