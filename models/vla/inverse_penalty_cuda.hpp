// The inverse penalty on CUDA; it is in inverse_penalty_step.cu, inverse_penalty_chunk.cu and
// inverse_penalty_tensor_core_*.cu. The arrays are on the device. What is wrong with values the
// kernels report: see cuda/problem.hpp.
#pragma once

#include "models/vla/penalty_arrays.hpp"
#include "models/vla/recursive_least_squares_cuda.hpp"

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

/// The usual penalty: one direction and one vector a token, from lambda0 I on, without forgetting.
/// T is BFloat16 or float; `weights` may be null for 1. The width is n.key.
template <class T>
struct TensorCorePenalty {
  LeastSquaresSizes n;
  const T *x, *directions;
  const float *weights, *lambda0;
};
/// `weights` may be null; lambda0 is (H). Null `x`: it is the directions, and its gradient is added
/// to theirs.
template <class T>
struct TensorCoreGradients {
  T *x, *directions;
  float *weights, *lambda0;
};

/// Whether there are kernels on tensor cores for vectors of this width and type.
bool tensor_cores_fit_penalty(Index width, DType dtype, Device device);

/// y and M after the last token. Returns what the adjoint needs: A at the start of every segment,
/// in a layout that only it knows.
template <class T>
Tensor apply_on_tensor_cores(const TensorCorePenalty<T>& in, T* y, double* penalty, Device device);
template <class T>
void adjoint_on_tensor_cores(const TensorCorePenalty<T>& in, const Tensor& starts,
                             const T* upstream, const TensorCoreGradients<T>& out, Device device);

}  // namespace vla::cuda
