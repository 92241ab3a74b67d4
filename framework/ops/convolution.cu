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

// Convolutions of up to so many taps keep the tokens that they look back at in registers.
constexpr int kWindow = 4;
constexpr Index kRun = 16;  // tokens that a thread goes along

// A channel's taps, the last first, and 0 for those it does not have.
template <class A, int size>
__device__ void read_taps(const A* weight, Index column, Index taps, A (&into)[kWindow][size]) {
#pragma unroll
  for (int ago = 0; ago < kWindow; ++ago)
#pragma unroll
    for (int j = 0; j < size; ++j)
      into[ago][j] = ago < taps ? weight[(column + j) * taps + taps - 1 - ago] : A(0);
}

// Where a run of tokens begins and ends, and its first token's row. Steps go along time, or with
// `direction` -1 back from its end.
struct Run {
  Index begin, end, row;
};
template <int direction>
__device__ Run run_of(Index number, const Sizes& sizes) {
  const Index runs = (sizes.time + kRun - 1) / kRun;
  const Index begin = number % runs * kRun, sequence = number / runs * sizes.time;
  return {begin, std::min(sizes.time, begin + kRun),
          sequence + (direction > 0 ? begin : sizes.time - 1 - begin)};
}

// The tokens of the steps before a run, the nearest first; zeros before the first step.
template <int size, int direction, class T, class A>
__device__ void read_window(const T* x, const Run& run, const Sizes& sizes, Index column,
                            A (&window)[kWindow][size]) {
#pragma unroll
  for (int ago = 0; ago < kWindow; ++ago) {
    const bool inside = ago > 0 && run.begin >= ago && ago < sizes.taps;
    Piece<T, size> piece{};
    if (inside) piece = read_piece<size>(x + (run.row - direction * ago) * sizes.width + column);
#pragma unroll
    for (int j = 0; j < size; ++j) window[ago][j] = widened(piece.elements[j]);
  }
}

// The window one step on: `next` at its front.
template <int size, class T, class A>
__device__ void push(const Piece<T, size>& next, A (&window)[kWindow][size]) {
#pragma unroll
  for (int j = 0; j < size; ++j) window[0][j] = widened(next.elements[j]);
}
template <int size, class A>
__device__ void shift(A (&window)[kWindow][size]) {
#pragma unroll
  for (int ago = kWindow - 1; ago > 0; --ago)
#pragma unroll
    for (int j = 0; j < size; ++j) window[ago][j] = window[ago - 1][j];
}

// y[b,t,c] = sum_ago weight[c,taps-1-ago] x[b,t-ago,c]; with `direction` -1 the gradient of x from
// that of y, dx[b,t,c] = sum_ago weight[c,taps-1-ago] dy[b,t+ago,c]. A thread for each run of each
// piece.
template <class T, int size, int direction>
__global__ void run_kernel(const T* x, const Accumulated<T>* weight, Sizes sizes, Index runs,
                           T* y) {
  using A = Accumulated<T>;
  const Index pieces = sizes.width / size, number = thread_index() / pieces;
  if (number >= runs) return;
  const Index column = thread_index() % pieces * size;
  const Run run = run_of<direction>(number, sizes);
  A taps[kWindow][size], window[kWindow][size];
  read_taps(weight, column, sizes.taps, taps);
  read_window<size, direction>(x, run, sizes, column, window);
  for (Index step = run.begin; step < run.end; ++step) {
    const Index place = (run.row + direction * (step - run.begin)) * sizes.width + column;
    push(read_piece<size>(x + place), window);
    Piece<T, size> out;
#pragma unroll
    for (int j = 0; j < size; ++j) {
      A sum = 0;
#pragma unroll
      for (int ago = 0; ago < kWindow; ++ago) sum += taps[ago][j] * window[ago][j];
      out.elements[j] = T(sum);
    }
    write_piece(y + place, out);
    shift(window);
  }
}

// partial (segments, taps, D): what the runs of a segment add to the gradient of the weight,
// dweight[c,taps-1-ago] = sum_{b,t} dy[b,t,c] x[b,t-ago,c].
template <class T, int size>
__global__ void run_gradient_kernel(const T* dy, const T* x, Sizes sizes, Index runs, Index segment,
                                    int column_threads, Index tiles, double* partial) {
  using A = Accumulated<T>;
  const int row_thread = threadIdx.x / column_threads;
  const Index column =
      (Index(blockIdx.x) % tiles * column_threads + threadIdx.x % column_threads) * size;
  const Index item = Index(blockIdx.x) / tiles, end = std::min(runs, (item + 1) * segment);
  A totals[kWindow][size] = {}, window[kWindow][size];
  if (column < sizes.width) {
    for (Index number = item * segment + row_thread; number < end;
         number += kThreads / column_threads) {
      const Run run = run_of<1>(number, sizes);
      read_window<size, 1>(x, run, sizes, column, window);
      for (Index step = run.begin; step < run.end; ++step) {
        const Index place = (run.row + step - run.begin) * sizes.width + column;
        push(read_piece<size>(x + place), window);
        const auto above = read_piece<size>(dy + place);
#pragma unroll
        for (int ago = 0; ago < kWindow; ++ago)
#pragma unroll
          for (int j = 0; j < size; ++j)
            totals[ago][j] += widened(above.elements[j]) * window[ago][j];
        shift(window);
      }
    }
  }
#pragma unroll
  for (int ago = 0; ago < kWindow; ++ago) {
    combine_column(totals[ago], column_threads, Sum());
    if (row_thread == 0 && column < sizes.width && ago < sizes.taps)
      for (int j = 0; j < size; ++j)
        partial[(item * sizes.taps + sizes.taps - 1 - ago) * sizes.width + column + j] =
            double(totals[ago][j]);
  }
}

// The same for any number of taps, without runs: a thread for each piece.
template <class T, int size, int direction, class Counter>
__global__ void piece_kernel(const T* x, const Accumulated<T>* weight, Sizes sizes, T* y) {
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

Index runs_of(const Sizes& sizes) {
  return sizes.time == 0 ? 0 : sizes.rows / sizes.time * ((sizes.time + kRun - 1) / kRun);
}

template <int direction>
void convolve(const Tensor& x, const Tensor& weight, Tensor& y) {
  const Sizes sizes = sizes_of(x, weight.size(1));
  const Launch launch("causal_convolution", x.device());
  dispatch_kernel(x.dtype(), "causal_convolution", [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    with_piece_size<T>(sizes.width, [&](auto size) {
      const Index pieces = sizes.rows * (sizes.width / size), runs = runs_of(sizes);
      if (sizes.taps <= kWindow)
        return launch(run_kernel<T, size, direction>, grid_for(runs * (sizes.width / size)),
                      x.data<T>(), weight.data<A>(), sizes, runs, y.mutable_data<T>());
      with_counter(pieces, [&](auto counter) {
        launch(piece_kernel<T, size, direction, decltype(counter)>, grid_for(pieces), x.data<T>(),
               weight.data<A>(), sizes, y.mutable_data<T>());
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

// by_tap (taps, D), in runs.
template <class T>
void gradient_by_runs(const Tensor& dy, const Tensor& x, const Sizes& sizes, Tensor& by_tap) {
  with_piece_size<T>(sizes.width, [&](auto size) {
    const Tiling by = tiling(sizes.width / size);
    const Index runs = runs_of(sizes);
    const Index segment = std::clamp<Index>(parts_of(runs * by.tiles, kWantedBlocks),
                                            by.row_threads(), 8 * by.row_threads());
    const Index segments = parts_of(runs, segment);
    Tensor partial({segments, sizes.taps, sizes.width}, DType::float64, x.device());
    Launch("causal_convolution", x.device())(run_gradient_kernel<T, size>,
                                             grid_for(segments * by.tiles * kThreads), dy.data<T>(),
                                             x.data<T>(), sizes, runs, segment, by.column_threads,
                                             by.tiles, partial.mutable_data<double>());
    reduce_run(SumFold(), partial, {.length = segments, .inner = sizes.taps * sizes.width}, by_tap);
  });
}

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
    if (sizes.taps <= kWindow) return gradient_by_runs<T>(dy, x, sizes, by_tap);
    const WeightTerms<T> terms{dy.data<T>(), x.data<T>(), sizes};
    sum_columns<T, 1>("causal_convolution", sizes.rows, sizes.taps * sizes.width, sizes.width,
                      terms, {&by_tap});
  });
  permute(by_tap, {1, 0}, dweight);
}

}  // namespace vla::cuda
