// Between matrices in global memory and what a warp multiplies: rows brought to shared memory while
// the warps work, and blocks of 16 x 16 read into and written from registers.
#pragma once

#include "framework/cuda/copies.cuh"
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

/// Elements (row, column) and (row, column + 1), `column` even; `even`: whether the width is. Read
/// without a branch,
/// so that many can be on their way at once: there must be an element.
template <bool even, class T>
__device__ float2 read_pair(const Rows<const T>& x, int row, int column) {
  const bool inside = row < x.rows && column < x.columns;
  const T* place = inside ? x.at(row, column) : x.data;
  float2 pair;
  if constexpr (even) {
    const auto both = *reinterpret_cast<const Piece<T, 2>*>(place);
    pair = {float(both.elements[0]), float(both.elements[1])};
  } else {
    const bool has_second = inside && column + 1 < x.columns;
    pair = {float(place[0]), has_second ? float(place[has_second]) : 0.0f};
  }
  return inside ? pair : float2{0, 0};
}
/// The same, written to `place`, which that is.
template <bool even, class T>
__device__ void write_pair(const Rows<T>& x, T* place, int row, int column, float first,
                           float second) {
  if (row >= x.rows || column >= x.columns) return;
  if constexpr (even) {
    *reinterpret_cast<Piece<T, 2>*>(place) = {T(first), T(second)};
  } else {
    place[0] = T(first);
    if (column + 1 < x.columns) place[1] = T(second);
  }
}
/// Calls work(std::bool_constant<even>{}).
template <class Work>
__device__ void if_even(int columns, Work work) {
  if (columns % 2 == 0)
    work(std::true_type());
  else
    work(std::false_type());
}

/// The strip at (row, column).
template <int n, class T>
__device__ Strip<n> read_strip(const Rows<const T>& x, int row, int column = 0) {
  Strip<n> strip;
  if_even(x.columns, [&](auto even) {
#pragma unroll
    for (int k = 0; k < n; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float2 pair =
              read_pair<even()>(x, row + tile_row(j), column + kSide * k + tile_column(i));
          strip.tiles[k].values[i][2 * j] = pair.x;
          strip.tiles[k].values[i][2 * j + 1] = pair.y;
        }
  });
  return strip;
}
template <int n, class T>
__device__ void write_strip(const Strip<n>& strip, const Rows<T>& x, int row, int column = 0) {
  if_even(x.columns, [&](auto even) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      T* place = x.at(row + tile_row(j), column + tile_column(0));
#pragma unroll
      for (int k = 0; k < n; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          write_pair<even()>(x, place + kSide * k + 8 * i, row + tile_row(j),
                             column + kSide * k + tile_column(i), strip.tiles[k].values[i][2 * j],
                             strip.tiles[k].values[i][2 * j + 1]);
    }
  });
}

/// The transpose of the block at (row, column).
template <class T>
__device__ Tile read_transposed(const Rows<const T>& x, int row, int column) {
  Tile tile;
  for_tile(tile, [&](int i, int j, float& value) {
    const bool inside = row + j < x.rows && column + i < x.columns;
    const float there = float(*(inside ? x.at(row + j, column + i) : x.data));
    value = inside ? there : 0.0f;
  });
  return tile;
}
template <class T>
__device__ void write_transposed(Tile tile, const Rows<T>& x, int row, int column) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    // Pairs that are neighbours after the transposition, exchanged within the warp.
    const Left<1> left = as_left<1>(tile);
    if_even(x.columns, [&](auto even) {
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          std::uint32_t pair;
          asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
                       : "=r"(pair)
                       : "r"(left.pairs[0][2 * i + j]));
          const int to_row = row + tile_row(i), to_column = column + tile_column(j);
          write_pair<even()>(x, x.at(to_row, to_column), to_row, to_column,
                             __uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000));
        }
    });
  } else {
    for_tile(tile, [&](int i, int j, float value) {
      if (row + j < x.rows && column + i < x.columns) *x.at(row + j, column + i) = T(value);
    });
  }
}

/// A sum of products of blocks in `chains` sums: products wait for those before them of the same
/// sum. The parts of order i (see tensor_core.cuh) go to sum i, or to the last.
template <int chains>
struct Sums {
  Tile tiles[chains];
  __device__ Sums() {
#pragma unroll
    for (int chain = 0; chain < chains; ++chain) clear(tiles[chain]);
  }
  /// tile += factor times the sum.
  __device__ void add_to(Tile& tile, float factor) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float sum = tiles[chains - 1].values[i][j];
#pragma unroll
        for (int chain = chains - 2; chain >= 0; --chain) sum += tiles[chain].values[i][j];
        tile.values[i][j] += factor * sum;
      }
  }
};

/// sums[k] += left right(k) where has(k), in an order in which products of one sum are far apart.
template <int count, int chains, int left_parts, class RightOf, class Has>
__device__ void add_products(Sums<chains> (&sums)[count], const Left<left_parts>& left,
                             RightOf right, Has has) {
  using Operand = decltype(right(0));
  constexpr int right_parts = sizeof(Operand) / sizeof(Right<1>);
  constexpr int most = left_parts > right_parts ? left_parts : right_parts;
  constexpr int kGroup = count < 4 ? count : 4;
#pragma unroll
  for (int first = 0; first < count; first += kGroup) {
    Operand operands[kGroup];
#pragma unroll
    for (int k = 0; k < kGroup; ++k)
      if (first + k < count && has(first + k)) operands[k] = right(first + k);
#pragma unroll
    for (int order = most - 1; order >= 0; --order)
#pragma unroll
      for (int part = 0; part <= order; ++part)
        if (part < left_parts && order - part < right_parts)
#pragma unroll
          for (int k = 0; k < kGroup; ++k)
            if (first + k < count && has(first + k))
#pragma unroll
              for (int i = 0; i < 2; ++i)
                multiply_bfloat16(
                    sums[first + k].tiles[order < chains ? order : chains - 1].values[i],
                    left.pairs[part], operands[k].pairs[order - part][2 * i],
                    operands[k].pairs[order - part][2 * i + 1]);
  }
}

/// Left operands in shared memory, as the registers of a warp have them: for the other warps.
template <int parts>
struct SharedLefts {
  static constexpr int bytes(int operands) {
    return operands * parts * kWarp * static_cast<int>(sizeof(uint4));
  }
  uint4* data;
  __device__ uint4& at(int number, int part) const {
    return data[(number * parts + part) * kWarp + threadIdx.x % kWarp];
  }
  __device__ void put(int number, const Left<parts>& left) const {
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      const auto& pairs = left.pairs[part];
      at(number, part) = {pairs[0], pairs[1], pairs[2], pairs[3]};
    }
  }
  __device__ Left<parts> get(int number) const {
    Left<parts> left;
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      const uint4 pairs = at(number, part);
      left.pairs[part][0] = pairs.x;
      left.pairs[part][1] = pairs.y;
      left.pairs[part][2] = pairs.z;
      left.pairs[part][3] = pairs.w;
    }
    return left;
  }
};

/// The threads that do something together: this one's number among them, and how many they are.
struct Team {
  int rank, size;
};
/// Brings the first `count` rows of x, of their columns `width` (a power of 2) from `column` on, to
/// shared memory, where they are after __syncthreads(). A function of its own, as it is long.
template <class T, int parts, int columns>
__device__ __noinline__ void load_converted(const Team team, const Split<parts, columns> into,
                                            const Rows<const T> x, int count, int column,
                                            int width) {
  const int shift = __ffs(width / 2) - 1;
  if_even(x.columns, [&](auto even) {
    // Read before any is written, so that all are on their way at once.
    constexpr int kBatch = 16;
    for (int first = team.rank; first < count << shift; first += kBatch * team.size) {
      float2 values[kBatch];
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        const int pair = first + k * team.size, i = pair >> shift;
        values[k] = read_pair<even()>(x, i, column + (pair - (i << shift)) * 2);
      }
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        const int pair = first + k * team.size, i = pair >> shift, j = (pair - (i << shift)) * 2;
        if (i >= count) break;
        std::uint32_t pairs[parts];
        split_pair(values[k].x, values[k].y, pairs);
#pragma unroll
        for (int part = 0; part < parts; ++part)
          *reinterpret_cast<std::uint32_t*>(into.at(part, i, j)) = pairs[part];
      }
    }
  });
}
/// Begins to do the same: they are there after close_copies, a wait for that group, and
/// __syncthreads(). bfloat16 comes in pieces of 16 bytes where the width allows it; all else is
/// converted on the way.
template <class T, int parts, int columns>
__device__ void begin_load(const Team& team, const Split<parts, columns>& into,
                           const Rows<const T>& x, int count, int column = 0, int width = columns) {
  constexpr int kPiece = 8;
  if (!std::is_same_v<T, BFloat16> || x.columns % kPiece != 0) {
    load_converted(team, into, x, count, column, width);
    return;
  }
  const int shift = __ffs(width / kPiece) - 1;
  const int j = (team.rank & ((1 << shift) - 1)) * kPiece, step = team.size >> shift;
  int i = team.rank >> shift;
  const int rows = column + j < x.columns ? x.rows : 0;
  const T* place = x.at(i, column + j);
  auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(into.at(0, i, j)));
  const Index place_step = Index(step) * x.stride;
  const int address_step =
      step * Split<parts, columns>::kStride * static_cast<int>(sizeof(BFloat16));
#pragma unroll 4
  for (; i < count; i += step) {
    // Of 0 bytes nothing is read, whatever the place.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(place), "r"(i < rows ? 16 : 0)
                 : "memory");
    place += place_step;
    address += address_step;
  }
}

}  // namespace vla::cuda
