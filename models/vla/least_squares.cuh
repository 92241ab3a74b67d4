// What the kernels of recursive least squares and of the inverse penalty share. A block of threads
// takes one segment: a run of chunks of kTokens tokens of one sequence and head. Its warps share
// the rows of a stacked matrix, first `width` rows that belong to keys, then `width` rows that
// belong to values: 16 rows a warp, in its registers. Keys and values narrower than `width` are
// padded with zeros. The inverse penalty has no values: there the stacked matrix ends with the rows
// of keys.
#pragma once

#include "framework/cuda/copies.cuh"
#include "framework/cuda/strip.cuh"
#include "models/vla/recursive_least_squares_cuda.hpp"

namespace vla::cuda {

inline constexpr int kTokens = 64;  // of a chunk
inline constexpr int kTokenBlocks = kTokens / kSide;

/// How matrices are kept for inputs of type T: bfloat16 inputs are exact in one part, and what is
/// computed has two; float32 has three of each.
template <class T, int width_, bool has_values = true>
struct Format {
  static constexpr bool kHasValues = has_values;
  static constexpr bool kNarrow = std::is_same_v<T, BFloat16>;
  static constexpr int kInput = kNarrow ? 1 : 3, kInner = kNarrow ? 2 : 3;
  static constexpr int kWidth = width_, kBlocks = width_ / kSide;
  static constexpr int kWarps = (has_values ? 2 : 1) * kBlocks, kThreads = kWarps * kWarp;
  using KeyWarps = FirstWarps<kBlocks>;
  /// Blocks that are to run on a multiprocessor at once, so that one computes while others wait.
  static constexpr int kAtOnce = !kNarrow || width_ > 64 ? 1 : has_values ? 2 : 3;

  using Tokens = Split<kInput, kWidth>;     // (kTokens, width)
  using Features = Split<kInner, kTokens>;  // (width, kTokens)
  using Scores = Split<kInner, kTokens>;    // (kTokens, kTokens)
  using State = Split<kInner, kWidth>;      // (width, width)
  using Stacked = Strip<kBlocks>;           // a warp's rows of the stacked matrix
  using Solved = LeftStrip<kTokenBlocks, kInner>;
  using OfTokens = Strip<kTokenBlocks>;  // the same rows, a column for each token
};

/// A matrix with that many rows at a place in shared memory.
template <class Matrix>
__device__ Matrix split_at(unsigned char* place, int rows) {
  return {reinterpret_cast<BFloat16*>(place), Matrix::part_elements(rows)};
}

/// One of two matrices, in a way that lets the compiler see that both are in shared memory.
template <class Matrix>
__device__ Matrix either(bool first, const Matrix& one, const Matrix& other) {
  return {other.data + (first ? static_cast<int>(one.data - other.data) : 0), other.part_size};
}

/// Which warp this is, and of which rows: blocks of 16 rows are counted within keys or values.
struct WarpRows {
  int block;
  bool of_values;
  template <class F>
  __device__ static WarpRows mine() {
    const int warp = threadIdx.x / kWarp;
    return {warp % F::kBlocks, F::kHasValues && warp >= F::kBlocks};
  }
  /// Of the rows among keys or values, and of the stacked ones.
  __device__ int first() const { return kSide * block; }
  template <class F>
  __device__ int first_stacked() const {
    return kSide * block + (of_values ? F::kWidth : 0);
  }
};

/// A run of chunks of one sequence and head.
struct SegmentPlace {
  Index sequence, head;
  Index first, end;  // chunks
};

/// The tokens of a chunk.
struct ChunkPlace {
  Index sequence, head, first;
  int count;

  __device__ ChunkPlace(const LeastSquaresSizes& n, const SegmentPlace& segment, Index chunk)
      : sequence(segment.sequence),
        head(segment.head),
        first(chunk * kTokens),
        count(static_cast<int>(min(Index(kTokens), n.time - first))) {}

  /// Of vectors (B, T, H, width): the first one, and the distance from one token to the next.
  template <class T>
  __device__ T* vectors(T* all, const LeastSquaresSizes& n, int width) const {
    return all + ((sequence * n.time + first) * n.heads + head) * width;
  }
};

/// Begins to bring `count` vectors of `size` numbers, `stride` apart, to the rows of a matrix; the
/// rest of its kTokens rows and of its columns becomes 0. They are there after wait_for_copies()
/// and __syncthreads().
template <int parts, int columns, class T>
__device__ void load_tokens(const Split<parts, columns>& into, const T* from, Index stride,
                            int count, int size) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    constexpr int kPiece = 8;
    if (size % kPiece == 0) {
      for (int i = threadIdx.x; i < kTokens * columns / kPiece; i += blockDim.x) {
        const int row = i / (columns / kPiece), column = i % (columns / kPiece) * kPiece;
        BFloat16* place = into.at(0, row, column);
        if (row < count && column < size)
          begin_copy<16>(place, from + row * stride + column);
        else
          *reinterpret_cast<uint4*>(place) = uint4{0, 0, 0, 0};
      }
      return;
    }
  }
  for (int i = threadIdx.x; i < kTokens * columns / 2; i += blockDim.x) {
    const int row = i / (columns / 2), column = i % (columns / 2) * 2;
    const bool inside = row < count;
    std::uint32_t pairs[parts];
    split_pair(inside && column < size ? float(from[row * stride + column]) : 0.0f,
               inside && column + 1 < size ? float(from[row * stride + column + 1]) : 0.0f, pairs);
#pragma unroll
    for (int part = 0; part < parts; ++part)
      *reinterpret_cast<std::uint32_t*>(into.at(part, row, column)) = pairs[part];
  }
}

/// The same of a chunk of vectors (B, T, H, size).
template <int parts, int columns, class T>
__device__ void load_tokens(const Split<parts, columns>& into, const T* all, const ChunkPlace& at,
                            const LeastSquaresSizes& n, int size) {
  load_tokens(into, at.vectors(all, n, size), n.heads * size, at.count, size);
}

/// Asks for the vectors of a chunk, so that they are near when its turn comes.
template <class T>
__device__ void prefetch_tokens(const T* all, const ChunkPlace& at, const LeastSquaresSizes& n,
                                int size) {
  constexpr int kLine = 128;  // bytes
  const int bytes = size * static_cast<int>(sizeof(T)), lines = (bytes + kLine - 1) / kLine;
  const auto* from = reinterpret_cast<const unsigned char*>(at.vectors(all, n, size));
  for (int i = threadIdx.x; i < at.count * lines; i += blockDim.x)
    prefetch(from + i / lines * (n.heads * bytes) + i % lines * kLine);
}

/// Brings sqrt(beta) of the chunk's tokens, 0 for those beyond its end; beta may be null for 1.
__device__ inline void load_roots(float* into, const float* beta, const ChunkPlace& at,
                                  const LeastSquaresSizes& n) {
  const float* from = beta ? at.vectors(beta, n, 1) : nullptr;
  for (int t = threadIdx.x; t < kTokens; t += blockDim.x)
    into[t] = t < at.count ? sqrtf(from ? from[t * n.heads] : 1) : 0;
}

/// beta of the chunk's token threadIdx.x, 0 beyond its end; beta may be null for 1. It is asked for
/// a chunk ahead and put into shared memory when its turn comes, so that nobody waits for it.
__device__ inline float weight_of(const float* beta, const ChunkPlace& at,
                                  const LeastSquaresSizes& n) {
  const int t = threadIdx.x;
  return t >= at.count ? 0 : beta ? at.vectors(beta, n, 1)[t * n.heads] : 1;
}
/// Puts down weights of the tokens, a thread for each.
__device__ inline void put_weights(float* into, float weight) {
  static_assert(kTokens <= 2 * kWarp);  // the fewest threads that a block has
  if (threadIdx.x < kTokens) into[threadIdx.x] = weight;
}

/// Multiplies column t by factor[t].
template <int n>
__device__ void scale_columns(Strip<n>& strip, const float* factor) {
#pragma unroll
  for (int j = 0; j < n; ++j)
    for_tile(strip.tiles[j], [&](int, int t, float& x) { x *= factor[kSide * j + t]; });
}

/// Vectors of the chunk's tokens on their way out: warps have rows of features, memory wants
/// tokens.
template <class T, int columns>
struct Outgoing {
  static constexpr int kStride = split_stride(columns);
  T* data;

  /// Puts down a strip's features, from `first` on, of all tokens.
  template <int n>
  __device__ void put(Strip<n>& strip, int first) const {
    T* place = data + first;
#pragma unroll
    for (int j = 0; j < n; ++j)
      for_tile(strip.tiles[j], [&](int feature, int token, float x) {
        place[(kSide * j + token) * kStride + feature] = T(x);
      });
  }

  /// Writes what was put down, after a __syncthreads(), to vectors (B, T, H, size).
  __device__ void write(T* all, const ChunkPlace& at, const LeastSquaresSizes& n, int size) const {
    T* to = at.vectors(all, n, size);
    const Index stride = n.heads * size;
    constexpr int kPiece = 16 / sizeof(T);
    if (size % kPiece == 0) {
      for (int i = threadIdx.x; i < kTokens * columns / kPiece; i += blockDim.x) {
        const int row = i / (columns / kPiece), column = i % (columns / kPiece) * kPiece;
        if (row < at.count && column < size)
          *reinterpret_cast<uint4*>(to + row * stride + column) =
              *reinterpret_cast<const uint4*>(data + row * kStride + column);
      }
      return;
    }
    for (int i = threadIdx.x; i < kTokens * columns; i += blockDim.x) {
      const int row = i / columns, column = i % columns;
      if (row < at.count && column < size) to[row * stride + column] = data[row * kStride + column];
    }
  }
};
/// The same where a matrix has been.
template <class T, int parts, int columns>
__device__ Outgoing<T, columns> outgoing_at(const Split<parts, columns>& place) {
  static_assert(parts * sizeof(BFloat16) >= sizeof(T));
  return {reinterpret_cast<T*>(place.data)};
}

/// Rows of a stacked matrix (2 width, width) in global memory.
template <int n>
__device__ void read_rows(Strip<n>& strip, const float* from, int first_row) {
#pragma unroll
  for (int j = 0; j < n; ++j)
    for_tile(strip.tiles[j], [&](int row, int column, float& x) {
      x = from[Index(first_row + row) * (kSide * n) + kSide * j + column];
    });
}
template <int n>
__device__ void write_rows(Strip<n>& strip, float* to, int first_row) {
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        *reinterpret_cast<float2*>(to + Index(first_row + tile_row(half)) * (kSide * n) +
                                   kSide * j + tile_column(i)) =
            float2{strip.tiles[j].values[i][2 * half], strip.tiles[j].values[i][2 * half + 1]};
}

/// strip += state rows^T: a column for each row of `rows`.
template <int inner, int n, int m, int parts, int columns>
__device__ void add_times_transposed(Strip<n>& strip, const Strip<m>& state,
                                     const Split<parts, columns>& rows) {
#pragma unroll
  for (int p = 0; p < m; ++p)
    add_outer(strip, as_left<inner>(state.tiles[p]),
              [&](int j) { return load_right<true>(rows, kSide * j, kSide * p); });
}

/// The block (i, j) of a b, where a (., 16 n) has rows and b (16 n, .) is given.
template <int n, class LeftOf, class RightOf>
__device__ Tile block_product(LeftOf left, RightOf right) {
  Tile sum;
  clear(sum);
#pragma unroll
  for (int p = 0; p < n; ++p) multiply(sum, left(p), right(p));
  return sum;
}

/// Calls work(i, j) for this warp's share, among all of the block, of the blocks of tokens j <= i.
template <class F, class Work>
__device__ void for_causal_blocks(Work work) {
  for_lower_blocks(kTokenBlocks, static_cast<int>(threadIdx.x) / kWarp, F::kWarps, work);
}

/// tile <- its elements on and below the diagonal, 0 above.
__device__ inline void keep_lower(Tile& tile) {
  for_tile(tile, [](int i, int j, float& x) { x = j <= i ? x : 0; });
}

}  // namespace vla::cuda
