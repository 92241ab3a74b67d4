// What the two parts of backward of recursive least squares, and of the inverse penalty, share: y
// and h of all chunks, which the first leaves for the last.
#pragma once

#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {

/// y^T and h^T of a chunk in global memory: rows of features, in their parts.
template <class F>
struct SolvedChunk {
  static constexpr Index kPart = Index(F::kWidth) * kTokens;  // elements of one part
  static constexpr Index kElements = 2 * F::kInner * kPart;
  BFloat16 *y, *h;

  __device__ SolvedChunk(BFloat16* all, const Segments& segments, const SegmentPlace& segment,
                         Index chunk)
      : y(all + ((segment.sequence * segments.heads + segment.head) * segments.chunks + chunk) *
                    kElements),
        h(y + F::kInner * kPart) {}
};

/// Features (width, kTokens) between shared and global memory, 16 bytes at a time.
template <class F, class Copy>
__device__ void for_feature_pieces(const typename F::Features& features, BFloat16* global,
                                   Copy copy) {
  constexpr int kPiece = 8, kOfRow = kTokens / kPiece;
  for (int i = threadIdx.x; i < F::kInner * F::kWidth * kOfRow; i += blockDim.x) {
    const int row = i / kOfRow, column = i % kOfRow * kPiece;
    copy(features.at(row / F::kWidth, row % F::kWidth, column), global + i * kPiece);
  }
}
template <class F>
__device__ void write_features(const typename F::Features& features, BFloat16* to) {
  for_feature_pieces<F>(features, to, [](const BFloat16* shared, BFloat16* global) {
    *reinterpret_cast<uint4*>(global) = *reinterpret_cast<const uint4*>(shared);
  });
}
template <class F>
__device__ void load_features(const typename F::Features& features, BFloat16* from) {
  for_feature_pieces<F>(features, from, [](BFloat16* shared, const BFloat16* global) {
    begin_copy<16>(shared, global);
  });
}

/// Asks for y and h of a chunk, which lie one after the other.
template <class F>
__device__ void prefetch_features(const BFloat16* y) {
  constexpr int kLine = 128 / sizeof(BFloat16);
  for (int i = threadIdx.x; i < SolvedChunk<F>::kElements / kLine; i += blockDim.x)
    prefetch(y + i * kLine);
}

/// sums[t] <- what the 16 rows of the warps' strips, multiplied by x of the tokens, add up to, one
/// warp after the other.
template <class F>
__device__ void add_up_products(typename F::OfTokens& strip, const typename F::Tokens& x,
                                const WarpRows& rows, float* sums) {
  float of_column[kTokenBlocks][2][2];
#pragma unroll
  for (int j = 0; j < kTokenBlocks; ++j) {
    const Tile with = load_sum<true>(x, kSide * j, rows.first());
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float sum = strip.tiles[j].values[i][e] * with.values[i][e] +
                    strip.tiles[j].values[i][2 + e] * with.values[i][2 + e];
        for (int lane = 4; lane < kWarp; lane *= 2) sum += __shfl_xor_sync(0xFFFFFFFF, sum, lane);
        of_column[j][i][e] = sum;
      }
  }
  for (int turn = 0; turn < F::kBlocks; ++turn) {
    if (turn == rows.block && threadIdx.x % kWarp < 4)
#pragma unroll
      for (int j = 0; j < kTokenBlocks; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& sum = sums[kSide * j + tile_column(i) + e];
            sum = (turn == 0 ? 0 : sum) + of_column[j][i][e];
          }
    __syncthreads();
  }
}

}  // namespace vla::cuda
