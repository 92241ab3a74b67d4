// A = M^-1 and S = N A where segments begin, in float64 on the tensor cores: where few different
// keys repeat, an error of M is amplified by sum of beta / lambda0.
#include <mma.h>

#include "models/vla/least_squares_chunk.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {
namespace {

namespace wmma = nvcuda::wmma;

constexpr int kTileSide = 8;  // rows and columns of a tile, which the tensor cores multiply

using Accumulator = wmma::fragment<wmma::accumulator, kTileSide, kTileSide, 4, double>;
using LeftOperand =
    wmma::fragment<wmma::matrix_a, kTileSide, kTileSide, 4, double, wmma::row_major>;
template <class Layout>
using RightOperand = wmma::fragment<wmma::matrix_b, kTileSide, kTileSide, 4, double, Layout>;

/// A tile (8, 8) as the left operand of products.
struct LeftTile {
  LeftOperand halves[2];
  __device__ LeftTile(const double* tile, int stride) {
#pragma unroll
    for (int k = 0; k < 2; ++k) wmma::load_matrix_sync(halves[k], tile + 4 * k, stride);
  }
};

/// sum (8, 8) += left right (8, 8), right transposed where Layout is col_major.
template <class Layout>
__device__ void add_product(Accumulator& sum, const LeftTile& left, const double* right,
                            int stride) {
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    RightOperand<Layout> half;
    constexpr bool transposed = std::is_same_v<Layout, wmma::col_major>;
    wmma::load_matrix_sync(half, right + 4 * k * (transposed ? 1 : stride), stride);
    wmma::mma_sync(sum, left.halves[k], half, sum);
  }
}

/// The shared memory. M is to be its inverse with the sign turned.
template <int width>
struct StartMemory {
  static constexpr int kStride = width + 4, kPanelStride = kTileSide + 4;
  static constexpr int kPanel = width * kPanelStride;
  static constexpr int kBytes =
      (width * kStride + 2 * kPanel + kTileSide * kPanelStride) * static_cast<int>(sizeof(double));
  double* m;
  double* columns;  // those of the pivots, as they were,
  double* solved;   // -C P^-1,
  double* inverse;  // -P^-1 (8, 8)

  __device__ explicit StartMemory(unsigned char* place)
      : m(reinterpret_cast<double*>(place)),
        columns(m + width * kStride),
        solved(columns + kPanel),
        inverse(solved + kPanel) {}
  __device__ double* tile(int i, int j) const { return m + kTileSide * (i * kStride + j); }
  __device__ double* columns_of(int i) const { return columns + kTileSide * i * kPanelStride; }
  __device__ double* solved_of(int i) const { return solved + kTileSide * i * kPanelStride; }
};

/// inverse <- -tile^-1 by a warp: sweeps, of which each thread has two neighbouring elements.
/// Whether the pivots were positive.
__device__ bool invert_tile(const double* tile, int stride, double* inverse, int inverse_stride) {
  constexpr unsigned kAll = 0xFFFFFFFF;
  constexpr int kLanes = kTileSide / 2;  // of a row
  const int lane = threadIdx.x % kWarp, row = lane / kLanes, column = lane % kLanes * 2;
  double x[2] = {tile[row * stride + column], tile[row * stride + column + 1]};
  bool positive = true;
#pragma unroll
  for (int p = 0; p < kTileSide; ++p) {
    const double pivot = __shfl_sync(kAll, x[p % 2], p * kLanes + p / 2);
    const double of_row = __shfl_sync(kAll, x[p % 2], row * kLanes + p / 2);
    const double of_column[2] = {__shfl_sync(kAll, x[0], p * kLanes + lane % kLanes),
                                 __shfl_sync(kAll, x[1], p * kLanes + lane % kLanes)};
    positive = positive && pivot > 0 && isfinite(pivot);
    const double shrink = 1 / pivot, factor = of_row * shrink;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const bool on_column = column + e == p;
      if (row == p)
        x[e] = on_column ? -shrink : of_column[e] * shrink;
      else
        x[e] = on_column ? factor : x[e] - factor * of_column[e];
    }
  }
#pragma unroll
  for (int e = 0; e < 2; ++e) inverse[row * inverse_stride + column + e] = x[e];
  return positive;
}

/// M becomes -M^-1 by sweeps of 8 pivots at once: with C the columns of the pivots and P their
/// tile, -P^-1 in the tile, C P^-1 in the columns, its transpose in the rows, M - C P^-1 C^T
/// elsewhere. M stays symmetric. A warp for each row of tiles, and one more that prepares the next
/// pivots. Whether all pivots were positive, known to that warp.
template <int width>
__device__ bool sweep(const StartMemory<width>& shared) {
  using Memory = StartMemory<width>;
  constexpr int kTiles = width / kTileSide, kStride = Memory::kStride,
                kPanel = Memory::kPanelStride;
  constexpr int kTogether = 4;  // tiles of a row, so that one's product need not wait for another's
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const auto invert = [&](int p) {
    return invert_tile(shared.tile(p, p), kStride, shared.inverse, kPanel);
  };
  bool positive = true;
  if (warp == kTiles) positive = invert(0);
  for (int p = 0; p < kTiles; ++p) {
    const int next = p + 1;
    __syncthreads();
    if (warp < kTiles) {
      Accumulator product;
      wmma::fill_fragment(product, 0);
      add_product<wmma::row_major>(product, {shared.tile(warp, p), kStride}, shared.inverse,
                                   kPanel);
      wmma::store_matrix_sync(shared.solved_of(warp), product, kPanel, wmma::mem_row_major);
      for (int i = lane; i < kTileSide * kTileSide; i += kWarp)
        shared.columns_of(warp)[i / kTileSide * kPanel + i % kTileSide] =
            shared.tile(warp, p)[i / kTileSide * kStride + i % kTileSide];
    }
    __syncthreads();
    if (warp == kTiles) {
      for (int i = lane; i < kTileSide * kTileSide; i += kWarp)
        shared.tile(p, p)[i / kTileSide * kStride + i % kTileSide] =
            shared.inverse[i / kTileSide * kPanel + i % kTileSide];
      if (next == kTiles) break;
      Accumulator rest;
      wmma::load_matrix_sync(rest, shared.tile(next, next), kStride, wmma::mem_row_major);
      add_product<wmma::col_major>(rest, {shared.solved_of(next), kPanel}, shared.columns_of(next),
                                   kPanel);
      wmma::store_matrix_sync(shared.tile(next, next), rest, kStride, wmma::mem_row_major);
      __syncwarp();
      positive = invert(next) && positive;
    } else if (warp != p) {
      const LeftTile solved(shared.solved_of(warp), kPanel);
      for (int first = 0; first < kTiles; first += kTogether) {
        Accumulator rest[kTogether];
        const auto is_mine = [&](int j) { return j != p && !(warp == next && j == next); };
#pragma unroll
        for (int j = 0; j < kTogether; ++j)
          if (is_mine(first + j))
            wmma::load_matrix_sync(rest[j], shared.tile(warp, first + j), kStride,
                                   wmma::mem_row_major);
#pragma unroll
        for (int j = 0; j < kTogether; ++j)
          if (is_mine(first + j))
            add_product<wmma::col_major>(rest[j], solved, shared.columns_of(first + j), kPanel);
#pragma unroll
        for (int j = 0; j < kTogether; ++j)
          if (is_mine(first + j))
            wmma::store_matrix_sync(shared.tile(warp, first + j), rest[j], kStride,
                                    wmma::mem_row_major);
      }
      for (int i = lane; i < kTileSide * kTileSide; i += kWarp) {
        const int row = i / kTileSide, column = i % kTileSide;
        const double x = -shared.solved_of(warp)[row * kPanel + column];
        shared.tile(warp, p)[row * kStride + column] = x;
        shared.tile(p, warp)[column * kStride + row] = x;
      }
    }
  }
  __syncthreads();
  return positive;
}

/// product <- the 8 rows of N in global memory times the matrix in place of M.
template <int width>
__device__ void multiply_rows(Accumulator (&product)[width / kTileSide], const double* n,
                              const StartMemory<width>& shared) {
  constexpr int kTiles = width / kTileSide, kStride = StartMemory<width>::kStride;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) wmma::fill_fragment(product[j], 0);
#pragma unroll 8
  for (int k = 0; k < width; k += 4) {
    LeftOperand left;
    wmma::load_matrix_sync(left, n + k, width);
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      RightOperand<wmma::row_major> right;
      wmma::load_matrix_sync(right, shared.m + k * kStride + kTileSide * j, kStride);
      wmma::mma_sync(product[j], left, right, product[j]);
    }
  }
}

constexpr int start_threads(int width) { return (width / kTileSide + 1) * kWarp; }

// A block for each segment.
template <int width>
__global__ void __launch_bounds__(start_threads(width))
    start_kernel(const LeastSquaresSizes n, const Segments segments, bool has_values,
                 const double* sums, const float* lambda0, float* starts, ProblemNote* note) {
  using Memory = StartMemory<width>;
  extern __shared__ __align__(128) unsigned char memory[];
  const Memory shared(memory);
  constexpr int kTiles = width / kTileSide, kStride = Memory::kStride;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const SegmentPlace segment = segments.place(blockIdx.x);
  const Index offset = segments.offset(blockIdx.x, width, has_values);
  const float start = lambda0[segment.head];
  const double* sum = sums + offset;
  for (int i = 2 * threadIdx.x; i < width * width; i += 2 * blockDim.x)
    begin_copy<16>(shared.m + i / width * kStride + i % width, sum + i);
  wait_for_copies();
  __syncthreads();
  // Of what rounding made unsymmetric, the mean: M may be as small as lambda0 in a direction that
  // few keys have.
  for (int i = threadIdx.x; i < width * width; i += blockDim.x) {
    const int row = i / width, column = i % width;
    if (column > row) continue;
    double &below = shared.m[row * kStride + column], &above = shared.m[column * kStride + row];
    below = above = (below + above) / 2 + (row == column ? start : 0.0);
  }
  __syncthreads();
  const bool positive = sweep(shared);
  if (warp == kTiles && lane == 0) {
    const Reporter reporter{note, ChunkPlace(n, segment, segment.first)};
    if (!(start > 0 && isfinite(start))) reporter.found(Problem::lambda0, start);
    if (!positive) reporter.found(Problem::penalty_not_definite);
  }
  // The warp's rows of what is left in place of M, with their signs turned.
  const auto write = [&](float* to) {
    for (int i = lane; i < kTileSide * width; i += kWarp) {
      const int row = kTileSide * warp + i / width, column = i % width;
      to[row * width + column] = static_cast<float>(-shared.m[row * kStride + column]);
    }
  };
  Accumulator product[kTiles];
  if (warp < kTiles) {
    write(starts + offset);
    if (has_values) multiply_rows(product, sum + (width + kTileSide * warp) * width, shared);
  }
  if (!has_values) return;
  __syncthreads();
  if (warp == kTiles) return;
#pragma unroll
  for (int j = 0; j < kTiles; ++j)
    wmma::store_matrix_sync(shared.tile(warp, j), product[j], kStride, wmma::mem_row_major);
  __syncwarp();
  write(starts + offset + width * width);
}

}  // namespace

std::size_t start_bytes(int width) {
  std::size_t bytes = 0;
  dispatch_width<BFloat16>(width, [&](auto padded) { bytes = StartMemory<padded>::kBytes; });
  return bytes;
}

void start_segments(const LeastSquaresSizes& n, const Segments& segments, int width,
                    bool has_values, const double* sums, const float* lambda0, float* starts,
                    Device device) {
  dispatch_width<BFloat16>(width, [&](auto padded) {
    Launch("least_squares start", device)(start_kernel<padded>,
                                          Grid{dim3(static_cast<unsigned>(segments.total())),
                                               start_threads(padded), StartMemory<padded>::kBytes},
                                          n, segments, has_values, sums, lambda0, starts,
                                          problem_note(device));
  });
}

}  // namespace vla::cuda
