// Recursive least squares on CUDA; it is in recursive_least_squares_forward.cu and
// recursive_least_squares_backward.cu. The arrays are on the device.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

struct LeastSquaresSizes {
  Index batch, time, heads;
  int key, value;  // widths
  VLA_HOST_DEVICE Index all_heads() const { return batch * heads; }
};

/// The inputs, see recursive_least_squares.hpp. T is BFloat16 or float.
template <class T>
struct LeastSquaresArrays {
  LeastSquaresSizes n;
  const T *q, *k, *v;
  const float *beta, *lambda0;
};

/// What forward leaves: o (B, T, H, d_v), S (B, H, d_v, d) and M (B, H, d, d) after the last token,
/// which may be null.
template <class T>
struct LeastSquaresOutputs {
  T* o;
  float* memory;
  double* penalty;
};
template <class T>
struct LeastSquaresGradients {
  T *q, *k, *v;
  float *beta, *lambda0;
};

/// Whether there are kernels for heads of this width and this type.
bool least_squares_fits(Index key, Index value, DType dtype, Device device);

/// What the adjoint needs, in layouts that only it knows: A and S at the start of every segment,
/// and W and Z of every chunk, which spare it their solve: 8 bytes a token, head and column
/// (float32 12), of as many columns as the wider of keys and values has, padded to 32, 64 or 128.
struct LeastSquaresKept {
  Tensor starts, solutions;
};
/// `keep`: the adjoint will be asked for.
template <class T>
LeastSquaresKept least_squares(const LeastSquaresArrays<T>& in, const LeastSquaresOutputs<T>& out,
                               bool keep, Device device);
template <class T>
void least_squares_adjoint(const LeastSquaresArrays<T>& in, const LeastSquaresKept& kept,
                           const T* output_gradient, const LeastSquaresGradients<T>& out,
                           Device device);

}  // namespace vla::cuda
