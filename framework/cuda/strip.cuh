// Matrices that lie across the registers of a block's warps: each warp has strips of 16 rows. And the
// Cholesky factorisation of a matrix in shared memory, with what strips are divided by.
#pragma once

#include "framework/cuda/tensor_core.cuh"

namespace vla::cuda {

/// 16 rows and 16 n columns, in the registers of a warp.
template <int n>
struct Strip {
  Tile tiles[n];
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

/// A symmetric matrix (16 n, 16 n) in shared memory in float32, of which the blocks on and below the
/// diagonal are used.
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

/// Of a block G (16, 16) on the diagonal at (first, first): the inverse of its Cholesky factor, to
/// the same place of `inverse`. Called by one warp. False where a pivot is not a positive finite
/// number.
///
/// Threads 0 .. 15 have the rows of G, threads 16 .. 31 those of the identity; the elimination that
/// makes the first the factor makes the second its inverse.
template <int n, int parts>
__device__ bool factorize_diagonal(const Symmetric<n>& g, const Split<parts, kSide * n>& inverse,
                                   int first) {
  const int lane = threadIdx.x % kWarp, row = lane % kSide;
  const bool of_inverse = lane >= kSide;
  float x[kSide];
#pragma unroll
  for (int j = 0; j < kSide; ++j)
    x[j] = of_inverse ? float(row == j) : g(first + row, first + j);
  bool positive = true;
#pragma unroll
  for (int j = 0; j < kSide; ++j) {
    const float pivot = __shfl_sync(0xFFFFFFFF, x[j], j);
    positive = positive && pivot > 0 && isfinite(pivot);
    const float scale = rsqrtf(pivot);
    // Column j of the factor, in the threads of both halves.
    const float factor = __shfl_sync(0xFFFFFFFF, x[j] * scale, row);
#pragma unroll
    for (int k = 0; k < kSide; ++k) {
      // Row j of the factor transposed is its column j, of which thread k has element k.
      const float mine = of_inverse ? x[k] * scale : factor;
      const float of_row_j = __shfl_sync(0xFFFFFFFF, mine, of_inverse ? kSide + j : k);
      if (row > j)
        x[k] -= factor * of_row_j;
      else if (row == j)
        x[k] *= scale;
    }
  }
  if (of_inverse)
#pragma unroll
    for (int j = 0; j < kSide; j += 2) {
      std::uint32_t pairs[parts];
      split_pair(j <= row ? x[j] : 0, j + 1 <= row ? x[j + 1] : 0, pairs);
#pragma unroll
      for (int part = 0; part < parts; ++part)
        *reinterpret_cast<std::uint32_t*>(inverse.at(part, first + row, first + j)) = pairs[part];
    }
  return positive;
}

/// The Cholesky factor L of `g`, which is overwritten, in the form in which strips are divided by
/// it: the inverses of its blocks on the diagonal, and the blocks below with their signs turned.
/// Called by all warps of the block; all see the result. Whether G is positive definite, known to
/// the first warp only.
template <int n, int parts>
__device__ bool factorize(const Symmetric<n>& g, const Split<parts, kSide * n>& factor) {
  const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  bool positive = true;
  for (int p = 0; p < n; ++p) {
    if (warp == 0) positive = factorize_diagonal(g, factor, kSide * p) && positive;
    __syncthreads();
    for (int i = p + 1 + warp; i < n; i += warps) {
      Tile below;
      clear(below);
      multiply(below, negative(as_left<parts>(g.load(i, p))),
               load_right<true>(factor, kSide * p, kSide * p));
      store(below, factor, kSide * i, kSide * p);
    }
    __syncthreads();
    const int left = n - 1 - p;
    for (int block = warp; block < left * (left + 1) / 2; block += warps) {
      int i, j;
      lower_block(block, i, j);
      i += p + 1;
      j += p + 1;
      Tile rest = g.load(i, j);
      multiply(rest, negative(load_left(factor, kSide * i, kSide * p)),
               load_right<true>(factor, kSide * j, kSide * p));
      g.store(rest, i, j);
    }
    if (left > 0) __syncthreads();
  }
  return positive;
}

/// strip <- strip L^-T, L as factorize leaves it.
template <int n, int parts>
__device__ void divide_by_transposed(Strip<n>& strip, const Split<parts, kSide * n>& factor) {
#pragma unroll
  for (int p = 0; p < n; ++p) {
    const Left<parts> before = as_left<parts>(strip.tiles[p]);
    clear(strip.tiles[p]);
    multiply(strip.tiles[p], before, load_right<true>(factor, kSide * p, kSide * p));
    const Left<parts> solved = as_left<parts>(strip.tiles[p]);
    add_outer(
        strip, solved, [&](int j) { return load_right<true>(factor, kSide * j, kSide * p); },
        p + 1);
  }
}

/// strip <- strip L^-1.
template <int n, int parts>
__device__ void divide_by(Strip<n>& strip, const Split<parts, kSide * n>& factor) {
#pragma unroll
  for (int p = n - 1; p >= 0; --p) {
    const Left<parts> before = as_left<parts>(strip.tiles[p]);
    clear(strip.tiles[p]);
    multiply(strip.tiles[p], before, load_right(factor, kSide * p, kSide * p));
    const Left<parts> solved = as_left<parts>(strip.tiles[p]);
    add_outer(
        strip, solved, [&](int j) { return load_right(factor, kSide * p, kSide * j); }, 0, p);
  }
}

}  // namespace vla::cuda
