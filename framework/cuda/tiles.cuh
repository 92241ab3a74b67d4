// Between matrices in global memory and what a warp multiplies: rows brought to shared memory while
// the warps work, and blocks of 16 x 16 read into and written from registers.
#pragma once

#include "framework/cuda/strip.cuh"

namespace vla::cuda {

/// With how many parts an element is exact as an operand.
template <class T>
inline constexpr int kExactParts = 3;
template <>
inline constexpr int kExactParts<BFloat16> = 1;

/// A matrix in global memory. Elements beyond it count as zeros, and what is written there is
/// dropped. The elements before it and those from one row to the next are multiples of `columns`,
/// so that the width alone says how many neighbours can be moved at once.
template <class T>
struct Rows {
  T* data;
  int stride;  // elements from one row to the next
  int rows, columns;
  __device__ T* at(int row, int column) const { return data + Index(row) * stride + column; }
};

/// Elements (row, column) and (row, column + 1), `column` even.
template <class T>
__device__ float2 read_pair(const Rows<const T>& x, int row, int column) {
  if (row >= x.rows || column >= x.columns) return {0, 0};
  const T* place = x.at(row, column);
  if (x.columns % 2 != 0) return {float(place[0]), column + 1 < x.columns ? float(place[1]) : 0.0f};
  const auto pair = *reinterpret_cast<const Piece<T, 2>*>(place);
  return {float(pair.elements[0]), float(pair.elements[1])};
}
template <class T>
__device__ void write_pair(const Rows<T>& x, int row, int column, float first, float second) {
  if (row >= x.rows || column >= x.columns) return;
  T* place = x.at(row, column);
  if (x.columns % 2 == 0) {
    *reinterpret_cast<Piece<T, 2>*>(place) = {T(first), T(second)};
  } else {
    place[0] = T(first);
    if (column + 1 < x.columns) place[1] = T(second);
  }
}

/// The block at (row, column), as a result, or as a left operand.
template <class T>
__device__ Tile read_tile(const Rows<const T>& x, int row, int column) {
  Tile tile;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float2 pair = read_pair(x, row + tile_row(j), column + tile_column(i));
      tile.values[i][2 * j] = pair.x;
      tile.values[i][2 * j + 1] = pair.y;
    }
  return tile;
}
template <class T>
__device__ Left<kExactParts<T>> read_left(const Rows<const T>& x, int row, int column) {
  return as_left<kExactParts<T>>(read_tile(x, row, column));
}
/// The same block transposed.
template <class T>
__device__ Tile read_transposed(const Rows<const T>& x, int row, int column) {
  Tile tile;
  for_tile(tile, [&](int i, int j, float& value) {
    const bool inside = row + j < x.rows && column + i < x.columns;
    value = inside ? float(*x.at(row + j, column + i)) : 0.0f;
  });
  return tile;
}

template <class T>
__device__ void write_tile(const Tile& tile, const Rows<T>& x, int row, int column) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j)
      write_pair(x, row + tile_row(j), column + tile_column(i), tile.values[i][2 * j],
                 tile.values[i][2 * j + 1]);
}
/// Writes the block's transpose to (row, column).
template <class T>
__device__ void write_transposed(Tile tile, const Rows<T>& x, int row, int column) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    // Pairs that are neighbours after the transposition, exchanged within the warp.
    const Left<1> pairs = as_left<1>(tile);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        std::uint32_t pair;
        asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
                     : "=r"(pair)
                     : "r"(pairs.pairs[0][2 * i + j]));
        write_pair(x, row + tile_row(i), column + tile_column(j), __uint_as_float(pair << 16),
                   __uint_as_float(pair & 0xFFFF0000));
      }
  } else {
    for_tile(tile, [&](int i, int j, float value) {
      if (row + j < x.rows && column + i < x.columns) *x.at(row + j, column + i) = T(value);
    });
  }
}

/// Begins to bring the first `count` rows of x to shared memory, `width` (a power of 2) of their
/// columns from `column` on; by all threads of the block. They are there after close_loads, a wait
/// for that group of loads, and __syncthreads(). bfloat16 comes in pieces of 16 bytes where the
/// width allows it; all else is converted on the way, and then is there after __syncthreads().
template <class T, int parts, int columns>
__device__ void begin_load(const Split<parts, columns>& into, const Rows<const T>& x, int count,
                           int column = 0, int width = columns) {
  constexpr int kPiece = 8;
  if (std::is_same_v<T, BFloat16> && x.columns % kPiece == 0) {
    const int shift = __ffs(width / kPiece) - 1;
    for (int piece = threadIdx.x; piece < count << shift; piece += blockDim.x) {
      const int i = piece >> shift, j = (piece - (i << shift)) * kPiece;
      const bool inside = i < x.rows && column + j < x.columns;
      const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(into.at(0, i, j)));
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                   :
                   : "r"(address), "l"(inside ? x.at(i, column + j) : x.data), "r"(inside ? 16 : 0)
                   : "memory");
    }
    return;
  }
  const int shift = __ffs(width / 2) - 1;
  for (int pair = threadIdx.x; pair < count << shift; pair += blockDim.x) {
    const int i = pair >> shift, j = (pair - (i << shift)) * 2;
    const float2 values = read_pair(x, i, column + j);
    std::uint32_t pairs[parts];
    split_pair(values.x, values.y, pairs);
#pragma unroll
    for (int part = 0; part < parts; ++part)
      *reinterpret_cast<std::uint32_t*>(into.at(part, i, j)) = pairs[part];
  }
}

/// Ends a group of loads.
__device__ inline void close_loads() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until this thread's loads are there but for the last `pending` groups (at most 2).
__device__ inline void wait_for_loads(int pending) {
  if (pending == 0)
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  else if (pending == 1)
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  else
    asm volatile("cp.async.wait_group 2;" ::: "memory");
}

}  // namespace vla::cuda
