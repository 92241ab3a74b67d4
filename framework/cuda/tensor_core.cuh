// Matrix products of a warp on the tensor cores, as accurate as wanted.
//
// The tensor cores multiply bfloat16 (8 significant bits) and add up in float32. A float32 matrix
// is therefore kept as a sum of bfloat16 matrices, its parts: the first is the matrix rounded, the
// next what the rounding left, and so on. With n parts of both operands, the products of part i and
// part j with i + j < n are taken, and the relative error of a product of two numbers is about
//
//   parts   products   error
//     1        1       2^-8
//     2        3       2^-16
//     3        6       2^-23, that of float32
//
// An operand that is bfloat16 to begin with has one part and no error of its own.
//
// A warp works on blocks of 16 x 16. Operands come from shared memory, or from results: a block
// that a product has left in the warp's registers is laid out as the left operand of the next one.
#pragma once

#include "framework/bfloat16.hpp"
#include "framework/cuda/kernel.cuh"

namespace vla::cuda {

inline constexpr int kSide = 16;  // of a block

/// The rows of bfloat16 matrices in shared memory lie this many elements apart: an odd number of 16
/// bytes, so that neighbouring rows lie in different banks.
VLA_HOST_DEVICE constexpr int split_stride(int columns) { return columns + 8; }

/// A row-major matrix in shared memory, the sum of `parts` bfloat16 matrices, `columns` a multiple
/// of 16.
template <int parts, int columns>
struct Split {
  static constexpr int kParts = parts, kStride = split_stride(columns);
  BFloat16* data;
  int part_size;  // elements from one part to the next

  VLA_HOST_DEVICE static constexpr int part_elements(int rows) { return rows * kStride; }
  VLA_HOST_DEVICE static constexpr int bytes(int rows) {
    return parts * part_elements(rows) * static_cast<int>(sizeof(BFloat16));
  }
  __device__ BFloat16* at(int part, int row, int column) const {
    return data + part * part_size + row * kStride + column;
  }
};

/// A 16 x 16 block in the registers of a warp. Thread 4 g + t has, for i < 2 and j < 2, the
/// elements (g + 8 j, 8 i + 2 t) and (g + 8 j, 8 i + 2 t + 1) as values[i][2 j] and values[i][2 j +
/// 1].
struct Tile {
  float values[2][4];
};
__device__ inline int tile_row(int j) { return threadIdx.x % kWarp / 4 + 8 * j; }
__device__ inline int tile_column(int i) { return threadIdx.x % 4 * 2 + 8 * i; }

__device__ inline void clear(Tile& tile) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) tile.values[i][j] = 0;
}

/// Calls work(row, column, value) for this thread's elements.
template <class Work>
__device__ void for_tile(Tile& tile, Work work) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) work(tile_row(j / 2), tile_column(i) + j % 2, tile.values[i][j]);
}

/// Operands of a product of blocks, in their parts: pairs of bfloat16, as the tensor cores take
/// them.
template <int parts>
struct Left {
  std::uint32_t pairs[parts][4];
};
template <int parts>
struct Right {
  std::uint32_t pairs[parts][4];
};

/// Two numbers as the parts of two matrix elements.
template <int parts>
__device__ void split_pair(float x, float y, std::uint32_t (&pairs)[parts]) {
#pragma unroll
  for (int part = 0; part < parts; ++part) {
    const __nv_bfloat162 rounded = __floats2bfloat162_rn(x, y);
    pairs[part] = *reinterpret_cast<const std::uint32_t*>(&rounded);
    if (part + 1 < parts) {
      x -= __uint_as_float(pairs[part] << 16);
      y -= __uint_as_float(pairs[part] & 0xFFFF0000);
    }
  }
}

/// A result as the left operand of the next product.
template <int parts>
__device__ Left<parts> as_left(const Tile& tile) {
  Left<parts> left;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      std::uint32_t pairs[parts];
      split_pair(tile.values[i][2 * j], tile.values[i][2 * j + 1], pairs);
#pragma unroll
      for (int part = 0; part < parts; ++part) left.pairs[part][2 * i + j] = pairs[part];
    }
  return left;
}

/// Reads four 8 x 8 matrices; each thread says where one of their 32 rows begins.
template <bool transposed>
__device__ void load_matrices(std::uint32_t (&pairs)[4], const BFloat16* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(pairs[0]), "=r"(pairs[1]), "=r"(pairs[2]), "=r"(pairs[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(pairs[0]), "=r"(pairs[1]), "=r"(pairs[2]), "=r"(pairs[3])
                 : "r"(address)
                 : "memory");
}

namespace detail {
// Where this thread's row of the four matrices begins: `down` and `right` say which of its two
// upper bits of the lane move a matrix down, and which to the right.
template <int down>
__device__ int matrix_row() {
  const int lane = threadIdx.x % kWarp;
  return lane % 8 + (lane >> (down ? 3 : 4)) % 2 * 8;
}
template <int down>
__device__ int matrix_column() {
  const int lane = threadIdx.x % kWarp;
  return (lane >> (down ? 4 : 3)) % 2 * 8;
}
}  // namespace detail

/// The block X(row .. row + 15, column .. column + 15) as left operand; of X transposed the same
/// block with `transposed`: element (i, p) is X(row + p, column + i).
template <bool transposed = false, int parts, int columns>
__device__ Left<parts> load_left(const Split<parts, columns>& x, int row, int column) {
  Left<parts> left;
#pragma unroll
  for (int part = 0; part < parts; ++part)
    load_matrices<transposed>(left.pairs[part],
                              x.at(part, row + detail::matrix_row<!transposed>(),
                                   column + detail::matrix_column<!transposed>()));
  return left;
}

/// The same block as right operand: element (p, j) is X(row + p, column + j), or with `transposed`
/// X(row + j, column + p).
template <bool transposed = false, int parts, int columns>
__device__ Right<parts> load_right(const Split<parts, columns>& x, int row, int column) {
  Right<parts> right;
#pragma unroll
  for (int part = 0; part < parts; ++part)
    load_matrices<!transposed>(right.pairs[part],
                               x.at(part, row + detail::matrix_row<!transposed>(),
                                    column + detail::matrix_column<!transposed>()));
  return right;
}

/// A block of a bfloat16 matrix, or of its transpose, as a result.
template <bool transposed = false, int columns>
__device__ Tile load_tile(const Split<1, columns>& x, int row, int column) {
  const Left<1> left = load_left<transposed>(x, row, column);
  Tile tile;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const std::uint32_t pair = left.pairs[0][2 * i + j];
      tile.values[i][2 * j] = __uint_as_float(pair << 16);
      tile.values[i][2 * j + 1] = __uint_as_float(pair & 0xFFFF0000);
    }
  return tile;
}
/// The same of a matrix with more parts.
template <bool transposed = false, int parts, int columns>
__device__ Tile load_sum(const Split<parts, columns>& x, int row, int column) {
  Tile tile;
  clear(tile);
#pragma unroll
  for (int part = parts - 1; part >= 0; --part) {
    const Tile one =
        load_tile<transposed>(Split<1, columns>{x.data + part * x.part_size, 0}, row, column);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) tile.values[i][j] += one.values[i][j];
  }
  return tile;
}

/// Writes a block to (row, column) of a matrix.
template <int parts, int columns>
__device__ void store(const Tile& tile, const Split<parts, columns>& x, int row, int column) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      std::uint32_t pairs[parts];
      split_pair(tile.values[i][2 * j], tile.values[i][2 * j + 1], pairs);
#pragma unroll
      for (int part = 0; part < parts; ++part)
        *reinterpret_cast<std::uint32_t*>(x.at(part, row + tile_row(j), column + tile_column(i))) =
            pairs[part];
    }
}

/// sum (16, 8) += a (16, 16) b (16, 8).
__device__ inline void multiply_bfloat16(float (&sum)[4], const std::uint32_t (&a)[4],
                                         std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// sum += left right, the small products first.
template <int left_parts, int right_parts>
__device__ void multiply(Tile& sum, const Left<left_parts>& left, const Right<right_parts>& right) {
  constexpr int most = left_parts > right_parts ? left_parts : right_parts;
#pragma unroll
  for (int order = most - 1; order >= 0; --order)
#pragma unroll
    for (int part = 0; part <= order; ++part)
      if (part < left_parts && order - part < right_parts)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          multiply_bfloat16(sum.values[i], left.pairs[part], right.pairs[order - part][2 * i],
                            right.pairs[order - part][2 * i + 1]);
}

/// The operand with its sign turned.
template <int parts>
__device__ Left<parts> negative(Left<parts> left) {
#pragma unroll
  for (int part = 0; part < parts; ++part)
#pragma unroll
    for (int i = 0; i < 4; ++i) left.pairs[part][i] ^= 0x80008000;
  return left;
}

}  // namespace vla::cuda
