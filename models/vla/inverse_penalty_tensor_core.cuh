// What the inverse penalty's kernels on tensor cores share: recursive least squares without values.
#pragma once

#include "models/vla/inverse_penalty_cuda.hpp"
#include "models/vla/least_squares_chunk.cuh"

namespace vla::cuda {

template <class T, int width>
using PenaltyFormat = Format<T, width, false>;

/// Reports a strip that has numbers that are not finite, at the chunk's first token.
template <int n>
__device__ void check_finite(Strip<n>& strip, Problem problem, const Reporter& reporter) {
  float zero = 0;  // becomes NaN
#pragma unroll
  for (int j = 0; j < n; ++j) for_tile(strip.tiles[j], [&](int, int, float x) { zero += 0 * x; });
  if (zero != 0) reporter.found(problem);
}

/// The shared memory of forward and of the first part of backward.
template <class F>
struct PenaltyMemory {
  static constexpr int kRootBytes = ChunkMemory<F>::kRootBytes;
  static constexpr int kTokenBytes = F::Tokens::bytes(kTokens);
  static constexpr int kFeatureBytes = F::Features::bytes(F::kWidth);
  static constexpr int kScoreBytes = ChunkMemory<F>::kScoreBytes;
  static constexpr int kBytes =
      kRootBytes + 2 * kTokenBytes + kFeatureBytes + kScoreBytes + F::Scores::bytes(kTokens);

  float* root;                   // sqrt(weight)
  typename F::Tokens u, x;       // u, then the upstream gradient
  typename F::Features w;        // Y^T, then W^T, then y^T on its way out
  Symmetric<kTokenBlocks> gram;  // I + U A U^T, then
  typename F::Scores scores;     // tril(X W^T)
  typename F::Scores factor;     // L, then tril(G W^T)

  __device__ explicit PenaltyMemory(unsigned char* place)
      : root(reinterpret_cast<float*>(place)),
        u(split_at<typename F::Tokens>(place += kRootBytes, kTokens)),
        x(split_at<typename F::Tokens>(place += kTokenBytes, kTokens)),
        w(split_at<typename F::Features>(place += kTokenBytes, F::kWidth)),
        gram{reinterpret_cast<float*>(place += kFeatureBytes)},
        scores(split_at<typename F::Scores>(place, kTokens)),
        factor(split_at<typename F::Scores>(place + kScoreBytes, kTokens)) {}

  /// h^T on its way out, where both scores have been.
  __device__ typename F::Features h() const {
    static_assert(kFeatureBytes <= kScoreBytes + F::Scores::bytes(kTokens));
    return {scores.data, F::Features::part_elements(F::kWidth)};
  }
};

/// The same of the last part of backward.
template <class F>
struct PenaltyAdjointMemory {
  static constexpr int kTokenBytes = F::Tokens::bytes(kTokens);
  static constexpr int kFeatureBytes = F::Features::bytes(F::kWidth);
  static constexpr int kBytes =
      2 * ChunkMemory<F>::kRootBytes + kTokenBytes + 2 * kFeatureBytes + F::Scores::bytes(kTokens);

  float *factor, *products;  // what du is multiplied by; F u . u
  typename F::Tokens u;
  typename F::Features y, h;
  typename F::Scores scores;

  __device__ explicit PenaltyAdjointMemory(unsigned char* place)
      : factor(reinterpret_cast<float*>(place)),
        products(factor + kTokens),
        u(split_at<typename F::Tokens>(place += 2 * ChunkMemory<F>::kRootBytes, kTokens)),
        y(split_at<typename F::Features>(place += kTokenBytes, F::kWidth)),
        h(split_at<typename F::Features>(place += kFeatureBytes, F::kWidth)),
        scores(split_at<typename F::Scores>(place + kFeatureBytes, kTokens)) {}
};

}  // namespace vla::cuda
