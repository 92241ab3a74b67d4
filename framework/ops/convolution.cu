#include "framework/cuda/columns.cuh"
#include "framework/cuda/units.cuh"
#include "framework/ops/convolution_cuda.hpp"
#include "framework/ops/shaping_cuda.hpp"

namespace vla::cuda {
namespace {

struct Sizes {
  Index rows, time, width, taps;  // rows: batch times time
};

Sizes sizes_of(const Tensor& x, Index taps) {
  return {x.size(0) * x.size(1), x.size(1), x.size(2), taps};
}

// y[b,t,c] = sum_ago weight[c,taps-1-ago] x[b,t-ago,c]; with `direction` -1 the gradient of x from
// that of y, dx[b,t,c] = sum_ago weight[c,taps-1-ago] dy[b,t+ago,c]. A thread for each piece.
template <class T, int size, int direction, class Counter>
__global__ void convolution_kernel(const T* x, const Accumulated<T>* weight, Sizes sizes, T* y) {
  using A = Accumulated<T>;
  const Counter pieces = static_cast<Counter>(sizes.width / size);
  if (thread_index() >= sizes.rows * (sizes.width / size)) return;
  const Counter i = static_cast<Counter>(thread_index());
  const Index row = i / pieces, column = Index(i % pieces) * size;
  const Index time = i / pieces % static_cast<Counter>(sizes.time);
  const Index there = direction > 0 ? time : sizes.time - 1 - time;  // tokens that way
  const Index last = std::min(there, sizes.taps - 1);
  A sums[size] = {};
  for (Index ago = 0; ago <= last; ++ago) {
    const auto piece = read_piece<size>(x + (row - direction * ago) * sizes.width + column);
#pragma unroll
    for (int j = 0; j < size; ++j)
      sums[j] +=
          weight[(column + j) * sizes.taps + sizes.taps - 1 - ago] * widened(piece.elements[j]);
  }
  Piece<T, size> out;
#pragma unroll
  for (int j = 0; j < size; ++j) out.elements[j] = T(sums[j]);
  write_piece(y + row * sizes.width + column, out);
}

template <int direction>
void convolve(const Tensor& x, const Tensor& weight, Tensor& y) {
  const Sizes sizes = sizes_of(x, weight.size(1));
  dispatch_kernel(x.dtype(), "causal_convolution", [&](auto zero) {
    using T = decltype(zero);
    with_piece_size<T>(sizes.width, [&](auto size) {
      const Index pieces = sizes.rows * (sizes.width / size);
      with_counter(pieces, [&](auto counter) {
        Launch("causal_convolution", x.device())(
            convolution_kernel<T, size, direction, decltype(counter)>, grid_for(pieces),
            x.data<T>(), weight.data<Accumulated<T>>(), sizes, y.mutable_data<T>());
      });
    });
  });
}

// Of the gradient of the weight seen as (taps, D): a column is a tap and a channel.
template <class T>
struct WeightTerms {
  const T *dy, *x;
  Sizes sizes;

  template <int size>
  __device__ void add(Index row, Index column, Accumulated<T> (&totals)[1][size]) const {
    const Index tap = column / sizes.width, channel = column % sizes.width;
    const Index ago = sizes.taps - 1 - tap;
    if (row % sizes.time < ago) return;
    const auto above = read_piece<size>(dy + row * sizes.width + channel);
    const auto in = read_piece<size>(x + (row - ago) * sizes.width + channel);
#pragma unroll
    for (int j = 0; j < size; ++j)
      totals[0][j] += widened(above.elements[j]) * widened(in.elements[j]);
  }
};

}  // namespace

void causal_convolution(const Tensor& x, const Tensor& weight, Tensor& y) {
  convolve<1>(x, weight, y);
}

void causal_convolution_gradient_x(const Tensor& dy, const Tensor& weight, Tensor& dx) {
  convolve<-1>(dy, weight, dx);
}

void causal_convolution_gradient_weight(const Tensor& dy, const Tensor& x, Tensor& dweight) {
  const Sizes sizes = sizes_of(x, dweight.size(1));
  Tensor by_tap({sizes.taps, sizes.width}, dweight.dtype(), dweight.device());
  dispatch_kernel(x.dtype(), "causal_convolution", [&](auto zero) {
    using T = decltype(zero);
    const WeightTerms<T> terms{dy.data<T>(), x.data<T>(), sizes};
    sum_columns<T, 1>("causal_convolution", sizes.rows, sizes.taps * sizes.width, sizes.width,
                      terms, {&by_tap});
  });
  permute(by_tap, {1, 0}, dweight);
}

}  // namespace vla::cuda
