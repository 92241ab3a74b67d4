// Matrices that lie across the registers of a block's warps: each warp has strips of 16 rows. And
// the Cholesky factorisation of a matrix in shared memory, with what strips are divided by.
#pragma once

#include "framework/cuda/tensor_core.cuh"

namespace vla::cuda {

/// 16 rows and 16 n columns, in the registers of a warp.
template <int n>
struct Strip {
  Tile tiles[n];
};

/// The same as left operands: what it is once it is no longer changed.
template <int n, int parts>
struct LeftStrip {
  Left<parts> tiles[n];
};

template <int n>
__device__ void clear(Strip<n>& strip) {
#pragma unroll
  for (int j = 0; j < n; ++j) clear(strip.tiles[j]);
}

/// strip += left right for the blocks j of a row: left (16, 16), right(j) (16, 16).
template <int n, int parts, class RightOf>
__device__ void add_outer(Strip<n>& strip, const Left<parts>& left, RightOf right, int begin = 0,
                          int end = n) {
#pragma unroll
  for (int j = 0; j < n; ++j)
    if (begin <= j && j < end) multiply(strip.tiles[j], left, right(j));
}

/// Writes the strip to the rows from `row` on, from the first column on.
template <int n, int parts, int columns>
__device__ void store(const Strip<n>& strip, const Split<parts, columns>& x, int row) {
#pragma unroll
  for (int j = 0; j < n; ++j) store(strip.tiles[j], x, row, kSide * j);
}

/// A symmetric matrix (16 n, 16 n) in shared memory in float32, of which the blocks on and below
/// the diagonal are used.
template <int n>
struct Symmetric {
  static constexpr int kStride = kSide * n + 4;
  static constexpr int kBytes = kSide * n * kStride * static_cast<int>(sizeof(float));
  float* data;
  __device__ float& operator()(int row, int column) const { return data[row * kStride + column]; }

  __device__ Tile load(int block_row, int block_column) const {
    Tile tile;
    for_tile(tile, [&](int i, int j, float& value) {
      value = (*this)(kSide * block_row + i, kSide * block_column + j);
    });
    return tile;
  }
  __device__ void store(Tile tile, int block_row, int block_column) const {
    for_tile(tile, [&](int i, int j, float value) {
      (*this)(kSide * block_row + i, kSide * block_column + j) = value;
    });
  }
};

/// The block below or on the diagonal with this number, counted along rows: block < rows (rows + 1)
/// / 2.
__device__ inline void lower_block(int block, int& row, int& column) {
  row = 0;
  while (block > row) block -= ++row;
  column = block;
}

/// 1 / x to the last place or next to it, in one instruction.
__device__ inline float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Of a block G (16, 16) on the diagonal at (first, first): the inverse of its Cholesky factor, to
/// the same place of `inverse`. Called by one warp. False where a pivot is not a positive finite
/// number.
///
/// Gauss elimination of [G; I], a 4 x 4 part of which each thread has: rows of G in threads 0 ..
/// 15, of the identity, which becomes the inverse, in threads 16 .. 31. It is the warp's longest
/// chain of dependent steps, so there is little in each: the rows are scaled when all is done.
template <int n, int parts>
__device__ bool factorize_diagonal(const Symmetric<n>& g, const Split<parts, kSide * n>& inverse,
                                   int first) {
  constexpr int kPart = 4;
  constexpr unsigned kAll = 0xFFFFFFFF;
  const int lane = threadIdx.x % kWarp, half = lane / kSide * kSide;
  const int rows = lane % kSide / kPart, columns = lane % kPart;
  const int row = kPart * rows, column = kPart * columns;
  float x[kPart][kPart];
#pragma unroll
  for (int a = 0; a < kPart; ++a)
#pragma unroll
    for (int b = 0; b < kPart; ++b)
      x[a][b] = half ? float(row + a == column + b) : g(first + row + a, first + column + b);
  // Element (4 p + i, 4 q + j) of G, for all threads.
  const auto of_g = [&](int i, int p, int j, int q) {
    return __shfl_sync(kAll, x[i][j], p * kPart + q);
  };
  float own_pivots[kPart];
  float pivot = of_g(0, 0, 0, 0);
#pragma unroll 1
  for (int block = 0; block < kPart; ++block)
#pragma unroll
    for (int within = 0; within < kPart; ++within) {
      const float shrink = reciprocal(pivot);
#pragma unroll
      for (int a = 0; a < kPart; ++a)
        if (a == within && rows == block) own_pivots[a] = pivot;
      // The next pivot ahead of its row, so that its reciprocal need not wait for that. (After the
      // last there is none, and what is computed is not used.)
      const int next = (within + 1) % kPart, next_block = within + 1 < kPart ? block : block + 1;
      const float below = of_g(next, next_block, within, block);
      pivot = of_g(next, next_block, next, next_block) - below * shrink * below;
      float of_row[kPart];
#pragma unroll
      for (int b = 0; b < kPart; ++b)
        of_row[b] = __shfl_sync(kAll, x[within][b], half + block * kPart + columns);
#pragma unroll
      for (int a = 0; a < kPart; ++a) {
        const float of_column = __shfl_sync(kAll, x[a][within], rows * kPart + block);
        const bool below_pivot = rows > block || (rows == block && a > within);
        const float factor = below_pivot ? of_column * shrink : 0;
#pragma unroll
        for (int b = 0; b < kPart; ++b) x[a][b] -= factor * of_row[b];
      }
    }
  bool positive = true;
#pragma unroll
  for (int a = 0; a < kPart; ++a) {
    positive = positive && own_pivots[a] > 0 && isfinite(own_pivots[a]);
    const float scale = rsqrtf(own_pivots[a]);
    if (half)
#pragma unroll
      for (int b = 0; b < kPart; b += 2) {
        std::uint32_t pairs[parts];
        split_pair(x[a][b] * scale, x[a][b + 1] * scale, pairs);
#pragma unroll
        for (int part = 0; part < parts; ++part)
          *reinterpret_cast<std::uint32_t*>(inverse.at(part, first + row + a, first + column + b)) =
              pairs[part];
      }
  }
  return __all_sync(kAll, positive);
}

/// Waits for the other threads of a team of warps; `number` (1 .. 15) says which team of the block.
__device__ inline void wait_for_team(int number, int threads) {
  asm volatile("bar.sync %0, %1;" : : "r"(number), "r"(threads) : "memory");
}

/// The first `warps` warps of a block, which work on something while the others do something else.
template <int warps_>
struct FirstWarps {
  static constexpr int kWarps = warps_;
  /// Waits for all of them.
  __device__ static void sync() { wait_for_team(1, warps_ * kWarp); }
};

/// Calls work(i, j) for this warp's share of the blocks with j <= i < n, among `warps` of which it
/// is number `warp`.
template <class Work>
__device__ void for_lower_blocks(int n, int warp, int warps, Work work) {
  for (int block = warp; block < n * (n + 1) / 2; block += warps) {
    int i, j;
    lower_block(block, i, j);
    work(i, j);
  }
}

/// The Cholesky factor L of `g`, which is overwritten, in the form in which strips are divided by
/// it: the inverses of its blocks on the diagonal, and the blocks below with their signs turned.
/// Called by all warps of a team, all of which see the result. Whether G is positive definite,
/// known to the first warp only: it alone takes the steps that wait for each other.
template <class Team, int n, int parts>
__device__ bool factorize(const Symmetric<n>& g, const Split<parts, kSide * n>& factor) {
  const int warp = threadIdx.x / kWarp;
  bool positive = true;
#pragma unroll 1
  for (int p = 0; p < n; ++p) {
    if (p > 0) {
      // Column p - 1 of L, and what is left of G without it.
      for (int i = p + warp; i < n; i += Team::kWarps) {
        Tile below;
        clear(below);
        multiply(below, negative(as_left<parts>(g.load(i, p - 1))),
                 load_right<true>(factor, kSide * (p - 1), kSide * (p - 1)));
        store(below, factor, kSide * i, kSide * (p - 1));
      }
      Team::sync();
      const auto reduce = [&](int i, int j) {
        Tile rest = g.load(p + i, p + j);
        multiply(rest, negative(load_left(factor, kSide * (p + i), kSide * (p - 1))),
                 load_right<true>(factor, kSide * (p + j), kSide * (p - 1)));
        g.store(rest, p + i, p + j);
      };
      // The first warp waits for nothing but the block on the diagonal.
      if (warp == 0)
        reduce(0, 0);
      else
        for_lower_blocks(n - p, warp, Team::kWarps - 1, reduce);
    }
    if (warp == 0) {
      __syncwarp();
      positive = factorize_diagonal(g, factor, kSide * p) && positive;
    }
    Team::sync();
  }
  return positive;
}

namespace detail {
// X L^-T block by block: solved(p, tile) gets each block and says what goes on as an operand.
template <int n, int parts, class Solved>
__device__ void substitute_forward(Strip<n>& strip, const Split<parts, kSide * n>& factor,
                                   Solved solved) {
#pragma unroll
  for (int p = 0; p < n; ++p) {
    const Left<parts> before = as_left<parts>(strip.tiles[p]);
    clear(strip.tiles[p]);
    multiply(strip.tiles[p], before, load_right<true>(factor, kSide * p, kSide * p));
    add_outer(
        strip, solved(p), [&](int j) { return load_right<true>(factor, kSide * j, kSide * p); },
        p + 1);
  }
}
}  // namespace detail

/// strip <- strip L^-T, L as factorize leaves it.
template <int n, int parts>
__device__ void divide_by_transposed(Strip<n>& strip, const Split<parts, kSide * n>& factor) {
  detail::substitute_forward(strip, factor, [&](int p) { return as_left<parts>(strip.tiles[p]); });
}
/// The same as left operands; what is left in the strip is of no use.
template <int n, int parts>
__device__ LeftStrip<n, parts> divided_by_transposed(Strip<n>& strip,
                                                     const Split<parts, kSide * n>& factor) {
  LeftStrip<n, parts> solved;
  detail::substitute_forward(
      strip, factor, [&](int p) { return solved.tiles[p] = as_left<parts>(strip.tiles[p]); });
  return solved;
}

/// Writes the strip to the rows from `row` on, from the first column on.
template <int n, int parts, int columns>
__device__ void store(const LeftStrip<n, parts>& strip, const Split<parts, columns>& x, int row) {
#pragma unroll
  for (int p = 0; p < n; ++p)
#pragma unroll
    for (int part = 0; part < parts; ++part)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j)
          *reinterpret_cast<std::uint32_t*>(
              x.at(part, row + tile_row(j), kSide * p + tile_column(i))) =
              strip.tiles[p].pairs[part][2 * i + j];
}

}  // namespace vla::cuda
