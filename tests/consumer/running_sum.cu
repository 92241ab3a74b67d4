#include "framework/cuda/kernel.cuh"
#include "running_sum.hpp"

namespace {

// One thread a row.
template <class T>
__global__ void running_sum_kernel(const T* x, T* y, vla::Index rows, vla::Index size,
                                   bool from_end) {
  const vla::Index row = vla::cuda::thread_index();
  if (row >= rows) return;
  const vla::Index step = from_end ? -1 : 1;
  vla::Index at = row * size + (from_end ? size - 1 : 0);
  T sum = 0;
  for (vla::Index t = 0; t < size; ++t, at += step) y[at] = sum += x[at];
}

}  // namespace

void running_sum_on_cuda(const vla::Tensor& x, vla::Tensor& y, bool from_end) {
  const vla::Index size = x.size(-1), rows = size == 0 ? 0 : x.elements() / size;
  vla::dispatch_floating(x.dtype(), "running_sum", [&](auto zero) {
    using T = decltype(zero);
    vla::cuda::Launch("running_sum", x.device())(running_sum_kernel<T>, vla::cuda::grid_for(rows),
                                                 x.data<T>(), y.mutable_data<T>(), rows, size,
                                                 from_end);
  });
}
