// Sums over rows, column by column: the gradients of parameters that all rows share.
#pragma once

#include <array>
#include <bit>

#include "framework/cuda/piece.cuh"
#include "framework/ops/reduce_cuda.hpp"

namespace vla::cuda {

inline constexpr Index kWantedBlocks = 1024;  // enough for every multiprocessor of a large device

inline Index parts_of(Index whole, Index part) { return (whole + part - 1) / part; }

/// How columns are shared out among blocks and their threads: `column_threads` (a power of 2, up to
/// a warp) stand side by side, the others in the rows below. A block works on one tile of columns.
struct Tiling {
  int column_threads;
  Index tiles;
  int row_threads() const { return kThreads / column_threads; }
};

/// The tiling for columns that are read in `pieces` pieces.
inline Tiling tiling(Index pieces) {
  const auto side = std::bit_ceil(static_cast<std::uint64_t>(std::clamp<Index>(pieces, 1, kWarp)));
  return {static_cast<int>(side), parts_of(pieces, static_cast<Index>(side))};
}

/// The values of all threads of a column combined, in its thread in the first row (in the others
/// they mean nothing), always in the same order. All threads of the block must take part.
template <int size, class A, class Combine>
__device__ void combine_column(A (&values)[size], int column_threads, const Combine& combine) {
  __shared__ A parts[kThreads][size];
  const int thread = threadIdx.x;
  __syncthreads();  // an earlier call may still be reading
#pragma unroll
  for (int j = 0; j < size; ++j) parts[thread][j] = values[j];
  for (int half = kThreads / 2; half >= column_threads; half /= 2) {
    __syncthreads();
    if (thread < half)
      for (int j = 0; j < size; ++j)
        parts[thread][j] = combine(parts[thread][j], parts[thread + half][j]);
  }
#pragma unroll
  for (int j = 0; j < size; ++j) values[j] = parts[thread][j];
}

/// Arrays (segments, width), one for each of the sums.
template <int sums>
struct Partials {
  double* of[sums];
};

template <class A, int sums, int size, class Terms>
__global__ void column_sums_kernel(Terms terms, Index rows, Index width, Index segment,
                                   int column_threads, Index tiles, Partials<sums> partials) {
  const int row_thread = threadIdx.x / column_threads;
  const Index column =
      (Index(blockIdx.x) % tiles * column_threads + threadIdx.x % column_threads) * size;
  const Index item = Index(blockIdx.x) / tiles;
  const Index end = std::min(rows, (item + 1) * segment);
  A totals[sums][size] = {};
  if (column < width) {
#pragma unroll 2
    for (Index row = item * segment + row_thread; row < end; row += kThreads / column_threads)
      terms.template add<size>(row, column, totals);
  }
#pragma unroll
  for (int i = 0; i < sums; ++i) {
    combine_column(totals[i], column_threads, Sum());
    if (row_thread == 0 && column < width)
      for (int j = 0; j < size; ++j)
        partials.of[i][item * width + column + j] = double(totals[i][j]);
  }
}

/// into[i][column] = the i-th sum over rows of what terms.add<size>(row, column, totals) adds to
/// totals[i][0 .. size) for the columns from `column` on, which is a multiple of `size`. Terms are
/// computed in A from elements of type T, whose packs are read where `unit`, the number of columns
/// that lie together in memory, is a multiple of a pack.
template <class T, int sums, class Terms>
void sum_columns(const char* op, Index rows, Index width, Index unit, const Terms& terms,
                 const std::array<Tensor*, sums>& into) {
  const Device device = into[0]->device();
  with_piece_size<T>(unit, [&](auto size) {
    const Tiling by = tiling(width / size);
    const Index wanted = parts_of(rows * by.tiles, kWantedBlocks);
    const Index segment = std::clamp<Index>(wanted, 8 * by.row_threads(), 128 * by.row_threads());
    const Index segments = parts_of(rows, segment);
    std::array<Tensor, sums> partial;
    Partials<sums> partials;
    for (std::size_t i = 0; i < sums; ++i) {
      partial[i] = Tensor({segments, width}, DType::float64, device);
      partials.of[i] = partial[i].template mutable_data<double>();
    }
    Launch(op, device)(column_sums_kernel<Accumulated<T>, sums, size, Terms>,
                       grid_for(segments * by.tiles * kThreads), terms, rows, width, segment,
                       by.column_threads, by.tiles, partials);
    for (std::size_t i = 0; i < sums; ++i)
      reduce_run(SumFold(), partial[i], {.length = segments, .inner = width}, *into[i]);
  });
}

}  // namespace vla::cuda
