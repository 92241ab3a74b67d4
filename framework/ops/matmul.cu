#include "framework/cuda/kernel.cuh"
#include "framework/ops/matmul_cuda.hpp"

namespace vla::cuda {
namespace {

constexpr int kRowsPerBlock = 256;  // rows that one block sums
constexpr int kGroups = kThreads / kWarp;

template <class T, class B>
__global__ void fill_rows_kernel(const B* bias, T* y, Index width, Index count) {
  for (Index i = thread_index(); i < count; i += thread_total()) y[i] = T(bias[i % width]);
}

// Thread (lane, group) of a block sums every kGroups-th row of its block of rows, in the columns of
// its lane; then the groups' sums are added in order. partial (row blocks, width).
template <class T>
__global__ void sum_rows_kernel(const T* x, Accumulated<T>* partial, Index rows, Index width) {
  using A = Accumulated<T>;
  __shared__ A sums[kGroups][kWarp];
  const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
  const Index tiles = (width + kWarp - 1) / kWarp;
  const Index block = blockIdx.x / tiles, column = blockIdx.x % tiles * kWarp + lane;
  const Index last = min(rows, (block + 1) * kRowsPerBlock);
  A sum = 0;
  if (column < width)
    for (Index row = block * kRowsPerBlock + group; row < last; row += kGroups)
      sum += A(x[row * width + column]);
  sums[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= width) return;
  for (int other = 1; other < kGroups; ++other) sum += sums[other][lane];
  partial[block * width + column] = sum;
}

template <class A>
__global__ void add_partial_kernel(const A* partial, A* sums, Index blocks, Index width) {
  const Index column = thread_index();
  if (column >= width) return;
  A sum = 0;
  for (Index block = 0; block < blocks; ++block) sum += partial[block * width + column];
  sums[column] = sum;
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

void sum_rows(const Tensor& x, Tensor& sums) {
  const Index width = sums.elements(), rows = width == 0 ? 0 : x.elements() / width;
  const Index blocks = (rows + kRowsPerBlock - 1) / kRowsPerBlock;
  const Index tiles = (width + kWarp - 1) / kWarp;
  dispatch_kernel(x.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    Tensor partial({blocks, width}, dtype_of<A>(), x.device());
    const Launch launch("linear", x.device());
    launch(sum_rows_kernel<T>, {dim3(static_cast<unsigned>(blocks * tiles))}, x.data<T>(),
           partial.mutable_data<A>(), rows, width);
    launch(add_partial_kernel<A>, grid_for(width), partial.data<A>(), sums.mutable_data<A>(),
           blocks, width);
  });
}

}  // namespace vla::cuda
