// The delta rule on the tensor cores, in three kinds of kernels. With T = (I + tril(K Alpha^T,
// -1))^-1 of a chunk, S at its start and D, the adjoint of S, at its end:
//
//   inverse    T, of all chunks at once
//   scan       S over the chunks, E^T = (V^T - S K^T) T^T; backward D, dV^T = (D Alpha^T + G^T) T
//   products   what follows from S, E, D and dV, of all chunks at once: O, G, dQ, dK, dAlpha
//
// Strips of 16 rows stay in warps' registers. In the scan they are rows of S, that is, value
// features, so that each result is the left operand of the next product and strips need nothing of
// each other; in the products they are tokens.
#pragma once

#include "framework/cuda/tiles.cuh"
#include "models/delta_rule_cuda.hpp"

namespace vla::cuda {

inline constexpr int kChunk = static_cast<int>(kMostChunk);
inline constexpr int kChunkTiles = kChunk / kSide;
inline constexpr int kChunkThreads = kChunkTiles * kWarp;  // a warp for 16 tokens

template <class T>
inline constexpr bool kIsNarrow = kExactParts<T> == 1;
/// The parts of results that are operands again. bfloat16: two, although what is stored has one,
/// because with keys that come again and again the sums over tokens cancel. With one throughout,
/// 4 different keys and T = 4096, the errors of O, the final S and dK are 8e-3, 7e-3 and 1.8e-2;
/// so they are 5.2e-3, 1e-5 and 1e-2, as far as E and S are not rounded when they are stored.
template <class T>
inline constexpr int kResultParts = kIsNarrow<T> ? 2 : 3;

inline Index chunks_of(const DeltaRuleSizes& n) { return (n.time + kChunk - 1) / kChunk; }

/// A head of a sequence, counted along both, and one of its chunks: in 32 bits, because a division
/// of 64 takes some hundred instructions.
struct Chunk {
  int head, chunk;
};
__device__ inline Chunk chunk_of_block(const DeltaRuleSizes& n) {
  const int chunks = (static_cast<int>(n.time) + kChunk - 1) / kChunk;
  const int block = static_cast<int>(blockIdx.x), head = block / chunks;
  return {head, block - head * chunks};
}
/// Its rows of a tensor (B, T, H, width).
template <class T>
__device__ Rows<T> rows_of_chunk(const DeltaRuleSizes& n, T* x, Index width, Chunk at) {
  const int heads = static_cast<int>(n.heads), first = at.chunk * kChunk;
  const int b = at.head / heads, h = at.head - b * heads;
  return {x + ((b * n.time + first) * n.heads + h) * width, heads * static_cast<int>(width),
          min(kChunk, static_cast<int>(n.time) - first), static_cast<int>(width)};
}
/// The matrix with this number.
template <class T>
__device__ Rows<T> rows_of_matrix(T* x, Index number, Index rows, Index columns) {
  return {x + number * rows * columns, static_cast<int>(columns), static_cast<int>(rows),
          static_cast<int>(columns)};
}

/// Inverses are stored as matrices (tokens, tokens) that add up to them: bfloat16 in two.
template <class T>
inline constexpr int kStoredParts = kIsNarrow<T> ? 2 : 1;

/// One scan over the chunks, of X^T (d_v, tokens) and matrices of the width of keys:
///
///   E^T = (X^T -+ S A^T) W      W = T^T, backward T
///   S  <- S +- E^T B + Y^T Z    the last backward only
///
/// with the upper signs forward, from the first chunk on, and the lower ones backward, from the
/// last. Pointers may be null: X and Y are then 0, without `a` nothing is read from S, without
/// `inverses` W = I, and without `b` nothing is written by E; what is to be left where is null is
/// not left.
template <class T>
struct Scan {
  DeltaRuleSizes n;
  const T *x, *a;
  const T* inverses;  // kStoredParts matrices each
  const T *b, *y, *z;
  const float* initial;  // null: 0
  T* errors;             // E (B, T, H, d_v)
  T* states;             // S before each chunk (in the order of the scan): (B, H, chunks, d_v, d)
  float* final_state;
  /// Parts of a sequence that are scanned at once, in the order of the scan. With more than one,
  /// `initial` has a state for each, (B, H, segments, d_v, d), and so has what is left at their
  /// ends.
  int segments = 1;
  bool from_identity = false;  // each begins with S = I
  float* ends = nullptr;       // S after each segment, (B, H, segments, d_v, d)
};
/// Value features, in 16s, that a multiprocessor scans at once where a step is to be short.
inline constexpr int kSlicesOfTeams = 2;
/// The scan of its segments as they stand.
template <class T>
void launch_segments(const Scan<T>& scan, bool backward, const char* op, Device device);
/// The scan of a sequence. As one segment, or where that would leave much of the device idle in two
/// levels: each segment from 0 and from I, which says how its end depends on its start; the starts
/// one after the other; and the segments from there. How the end depends on the start has to be
/// representable, which it is for keys and coefficients of a delta rule that does not diverge.
template <class T>
void launch_scan(const Scan<T>& scan, bool backward, const char* op, Device device);

/// For all chunks, of matrices (tokens, width of keys or of values):
///
///   out = left M + sum over pairs of mask(left X^T) Y
///
/// M is the chunk's matrix (d_v, d) of `states`, or its transpose; the mask keeps what is on and
/// below the diagonal, or on and above it, or leaves the diagonal out.
template <class T>
struct Product {
  struct Pair {
    const T *x, *y;  // X as wide as left, Y as out
    bool upper, strict, negative;
  };
  const T* left;
  bool left_has_keys, out_has_keys;  // widths
  const T* states;                   // unless null
  bool transposed, negative;         // of M
  int pairs;
  Pair pair[2];
  T* out;
};
template <class T>
struct Products {
  static constexpr int kMost = 3;
  DeltaRuleSizes n;
  int count;
  Product<T> product[kMost];
};
template <class T>
void launch_products(const Products<T>& products, const char* op, Device device);

/// Calls function(std::integral_constant<int, blocks>{}) with the width as which keys and values
/// are computed with, in blocks of 16.
template <class Function>
void with_width(const DeltaRuleSizes& n, Function&& function) {
  const Index width = std::max(n.key, n.value);
  if (width <= 16)
    function(std::integral_constant<int, 1>());
  else if (width <= 32)
    function(std::integral_constant<int, 2>());
  else if (width <= 64)
    function(std::integral_constant<int, 4>());
  else
    function(std::integral_constant<int, 8>());
}

/// Bytes of shared memory of the largest block, for `blocks` as above.
template <class T>
int scan_bytes(int blocks);
template <class T>
int products_bytes(int blocks);

}  // namespace vla::cuda
