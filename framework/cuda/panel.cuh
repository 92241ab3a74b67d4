// Rows of a head between a tensor (B, T, H, width), where they lie H width elements apart, and
// matrices in shared memory and in registers.
#pragma once

#include "framework/cuda/copies.cuh"
#include "framework/cuda/piece.cuh"
#include "framework/cuda/strip.cuh"

namespace vla::cuda {

/// One head of one sequence: row t begins at data + t * stride.
template <class T>
struct HeadRows {
  T* data;
  Index stride, count;
  int width;
  __device__ T* row(Index t) const { return data + t * stride; }
};

/// Head `head` % heads of sequence `head` / heads of a tensor (B, time, heads, width).
template <class T>
__device__ HeadRows<T> head_rows(T* data, Index head, Index time, Index heads, Index width) {
  return {data + (head / heads * time * heads + head % heads) * width, heads * width, time,
          static_cast<int>(width)};
}

/// Calls work(i) for i < count, shared out among the block's threads.
template <int count, int threads, class Work>
__device__ void for_block(Work work) {
#pragma unroll
  for (int begin = 0; begin < count; begin += threads) {
    const int i = begin + static_cast<int>(threadIdx.x);
    if (count % threads == 0 || i < count) work(i);
  }
}

/// Begins to bring the rows from `first` on to shared memory, with zeros beyond the last row and
/// column. Copies of 16 bytes need rows that begin at multiples of that; others go one by one.
template <int rows, int threads, int columns>
__device__ void begin_load(const HeadRows<const BFloat16>& from, Index first,
                           const Split<1, columns>& to) {
  constexpr int size = Pack<BFloat16>::kSize, packs = columns / size, step = threads / packs;
  static_assert(threads % packs == 0);
  // A thread stays in its column, so that all but a step down is computed once.
  const int row = threadIdx.x / packs, column = threadIdx.x % packs * size;
  const int left = static_cast<int>(min(from.count - first, Index(rows))) - row;
  const BFloat16* source = from.row(first + row) + column;
  BFloat16* const target = to.at(0, row, column);
#pragma unroll
  for (int i = 0; i < rows; i += step, source += step * from.stride) {
    if (rows % step != 0 && row + i >= rows) break;
    BFloat16* const into = target + i * to.kStride;
    if (from.width % size == 0) {
      const bool inside = i < left && column < from.width;
      begin_copy<16>(into, inside ? source : from.data, inside);
    } else {
      for (int j = 0; j < size; ++j)
        into[j] = i < left && column + j < from.width ? source[j] : BFloat16(0.0f);
    }
  }
}
/// The same of float32, which is split on the way: nothing is left to wait for.
template <int rows, int threads, int parts, int columns>
__device__ void begin_load(const HeadRows<const float>& from, Index first,
                           const Split<parts, columns>& to) {
  constexpr int pairs = columns / 2;
  for_block<rows * pairs, threads>([&](int i) {
    const int row = i / pairs, column = i % pairs * 2;
    const auto element = [&](int j) {
      return first + row < from.count && j < from.width ? from.row(first + row)[j] : 0.0f;
    };
    std::uint32_t split[parts];
    split_pair(element(column), element(column + 1), split);
#pragma unroll
    for (int part = 0; part < parts; ++part)
      *reinterpret_cast<std::uint32_t*>(to.at(part, row, column)) = split[part];
  });
}

/// Writes 16 rows from `first` on, as many rows and columns as there are, times `factors[j]` in
/// this thread's rows tile_row(j).
template <class T, int n>
__device__ void write(const Strip<n>& strip, const float (&factors)[2], const HeadRows<T>& to,
                      Index first) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (first + tile_row(j) >= to.count) continue;
    T* const row = to.row(first + tile_row(j));
#pragma unroll
    for (int block = 0; block < n; ++block)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = kSide * block + tile_column(i);
        const float* values = strip.tiles[block].values[i] + 2 * j;
        const Piece<T, 2> pair{{T(factors[j] * values[0]), T(factors[j] * values[1])}};
        if (to.width % 2 == 0 && column < to.width) {
          write_piece<2>(row + column, pair);
        } else {
          if (column < to.width) row[column] = pair.elements[0];
          if (column + 1 < to.width) row[column + 1] = pair.elements[1];
        }
      }
  }
}

/// sums[i] = 16 rows of x times the rows of z from `z_row` on, transposed; left(i, p) gives those
/// rows' block p as left operand.
template <int m, int n, int parts, int columns, class LeftOf>
__device__ void multiply_rows(Strip<n> (&sums)[m], LeftOf left_of, const Split<parts, columns>& z,
                              int z_row) {
#pragma unroll
  for (int i = 0; i < m; ++i) clear(sums[i]);
#pragma unroll
  for (int p = 0; p < columns / kSide; ++p) {
    Left<parts> left[m];
#pragma unroll
    for (int i = 0; i < m; ++i) left[i] = left_of(i, p);
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const Right<parts> right = load_right<true>(z, z_row + kSide * j, kSide * p);
#pragma unroll
      for (int i = 0; i < m; ++i) multiply(sums[i].tiles[j], left[i], right);
    }
  }
}

/// The rows of a warp as left operands, either read each time they are wanted or held in registers.
template <bool held, int strips, int parts, int columns>
class RowsOfWarp {
 public:
  /// With `held` the matrix must be there.
  __device__ RowsOfWarp(const Split<parts, columns>& x, int row) : x_(x), row_(row) {
    if constexpr (held)
#pragma unroll
      for (int i = 0; i < strips; ++i)
#pragma unroll
        for (int p = 0; p < columns / kSide; ++p) held_[i][p] = read(i, p);
  }
  __device__ Left<parts> operator()(int i, int p) const {
    if constexpr (held)
      return held_[i][p];
    else
      return read(i, p);
  }

 private:
  __device__ Left<parts> read(int i, int p) const {
    return load_left(x_, row_ + kSide * i, kSide * p);
  }

  Split<parts, columns> x_;
  int row_;
  Left<parts> held_[held ? strips : 1][columns / kSide];
};

/// sums[i] += weights[i] times the rows of z from `z_row` on.
template <int m, int n, int parts, int columns>
__device__ void add_products(Strip<columns / kSide> (&sums)[m], const Strip<n> (&weights)[m],
                             const Split<parts, columns>& z, int z_row) {
#pragma unroll
  for (int p = 0; p < n; ++p) {
    Left<parts> left[m];
#pragma unroll
    for (int i = 0; i < m; ++i) left[i] = as_left<parts>(weights[i].tiles[p]);
#pragma unroll
    for (int j = 0; j < columns / kSide; ++j) {
      const Right<parts> right = load_right(z, z_row + kSide * p, kSide * j);
#pragma unroll
      for (int i = 0; i < m; ++i) multiply(sums[i].tiles[j], left[i], right);
    }
  }
}

}  // namespace vla::cuda
