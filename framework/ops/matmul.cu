#include "framework/cuda/kernel.cuh"
#include "framework/ops/matmul_cuda.hpp"

namespace vla::cuda {
namespace {

template <class T, class B>
__global__ void fill_rows_kernel(const B* bias, T* y, Index width, Index count) {
  for (Index i = thread_index(); i < count; i += thread_total()) y[i] = T(bias[i % width]);
}

}  // namespace

void fill_rows(const Tensor& bias, Tensor& y) {
  dispatch_kernel(y.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    const auto with = [&](auto bias_zero) {
      using B = decltype(bias_zero);
      Launch("linear", y.device())(fill_rows_kernel<T, B>, grid_for(y.elements(), 1 << 16),
                                   bias.data<B>(), y.mutable_data<T>(), bias.elements(),
                                   y.elements());
    };
    dispatch_kernel(bias.dtype(), "linear", with);
  });
}

}  // namespace vla::cuda
