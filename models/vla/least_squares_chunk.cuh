// A chunk of recursive least squares or of the inverse penalty, as forward and the first part of
// backward compute it: what is in shared memory, and the steps.
#pragma once

#include "models/vla/least_squares.cuh"

namespace vla::cuda {

/// For problems that are found, with the place of the chunk.
struct Reporter {
  ProblemNote* note;
  ChunkPlace at;

  /// `token`: counted from the chunk's first.
  __device__ void found(Problem problem, double number = 0, int token = 0) const {
    ProblemNote what;
    what.problem = problem;
    what.number = number;
    what.sequence = at.sequence;
    what.head = at.head;
    what.time = at.first + token;
    report(note, what);
  }
};

/// Where warps of values put Q S^T down while they solve, if registers are short.
template <class F>
struct Parked {
  static constexpr bool kUsed = F::kWidth > 64;
  static constexpr int kOfThread = kTokenBlocks * 8;
  static constexpr int kLanes = F::kBlocks * kWarp;
  static constexpr int kBytes = kUsed ? kLanes * kOfThread * static_cast<int>(sizeof(float)) : 0;
  float* data;

  /// Calls work(element of the strip, its place).
  template <class Work>
  __device__ void for_all(typename F::OfTokens& strip, Work work) const {
    float* own = data + threadIdx.x % kLanes;
#pragma unroll
    for (int j = 0; j < kTokenBlocks; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          work(strip.tiles[j].values[i][e], own[((j * 2 + i) * 4 + e) * kLanes]);
  }
  __device__ void put(typename F::OfTokens& strip) const {
    if constexpr (kUsed) for_all(strip, [](float x, float& place) { place = x; });
  }
  __device__ void take_back(typename F::OfTokens& strip) const {
    if constexpr (kUsed) for_all(strip, [](float& x, float place) { x = place; });
  }
};

/// The shared memory of forward. Some matrices lie where others have been.
template <class F>
struct ChunkMemory {
  static constexpr int kTokenBytes = F::Tokens::bytes(kTokens);
  static constexpr int kFeatureBytes = F::Features::bytes(F::kWidth);
  static constexpr int kScoreBytes =
      std::max(F::Scores::bytes(kTokens), Symmetric<kTokenBlocks>::kBytes);
  static constexpr int kRootBytes = kTokens * static_cast<int>(sizeof(float));
  /// Two, so that the next chunk's tokens come while this one's are used.
  static constexpr int kBuffers = F::kNarrow ? 2 : 1;
  static constexpr int kBufferBytes = kRootBytes + 3 * kTokenBytes;
  static constexpr int kPlaces = kBuffers * kBufferBytes + kFeatureBytes + kScoreBytes;
  static constexpr int kParkedAt = kPlaces + F::Scores::bytes(kTokens);
  static constexpr int kBytes = kParkedAt + Parked<F>::kBytes;

  struct Buffer {
    float* root;  // sqrt(beta)
    typename F::Tokens k, q, v;
  };
  unsigned char* buffers;
  typename F::Features w;        // Y^T, then W^T
  Symmetric<kTokenBlocks> gram;  // I + U A U^T, then
  typename F::Scores scores;     // tril(Q W^T)
  typename F::Scores factor;     // L
  Parked<F> parked;

  __device__ explicit ChunkMemory(unsigned char* memory)
      : buffers(memory),
        w(split_at<typename F::Features>(memory += kBuffers * kBufferBytes, F::kWidth)),
        gram{reinterpret_cast<float*>(memory += kFeatureBytes)},
        scores(split_at<typename F::Scores>(memory, kTokens)),
        factor(split_at<typename F::Scores>(memory + kScoreBytes, kTokens)),
        parked{reinterpret_cast<float*>(buffers + kParkedAt)} {}

  __device__ Buffer buffer(Index chunk) const {
    unsigned char* place = buffers + (kBuffers == 1 ? 0 : chunk % 2 * kBufferBytes);
    return {reinterpret_cast<float*>(place),
            split_at<typename F::Tokens>(place += kRootBytes, kTokens),
            split_at<typename F::Tokens>(place += kTokenBytes, kTokens),
            split_at<typename F::Tokens>(place + kTokenBytes, kTokens)};
  }
};

/// W^T and Z^T of all chunks in global memory, in their parts and as the warps' registers have
/// them: what forward leaves for backward, which need not solve again.
template <class F, class Element = BFloat16>
struct KeptSolution {
  // Of a block and part, of one thread.
  using Quad = std::conditional_t<std::is_const_v<Element>, const uint4, uint4>;
  static constexpr Index kOfWarp = Index(kTokenBlocks) * F::kInner * kWarp;
  static constexpr Index kOfChunk = F::kWarps * kOfWarp;
  static constexpr Index kElements = kOfChunk * sizeof(Quad) / sizeof(BFloat16);
  Quad* own;

  __device__ KeptSolution(Element* all, const LeastSquaresSizes& n, const ChunkPlace& at)
      : own(reinterpret_cast<Quad*>(all) +
            ((at.sequence * n.heads + at.head) * ((n.time + kTokens - 1) / kTokens) +
             at.first / kTokens) *
                kOfChunk +
            threadIdx.x / kWarp * kOfWarp + threadIdx.x % kWarp) {}

  __device__ void put(const typename F::Solved& solved) const {
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p)
#pragma unroll
      for (int part = 0; part < F::kInner; ++part) {
        const auto& pairs = solved.tiles[p].pairs[part];
        own[(p * F::kInner + part) * kWarp] = Quad{pairs[0], pairs[1], pairs[2], pairs[3]};
      }
  }
  __device__ typename F::Solved get() const {
    typename F::Solved solved;
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p)
#pragma unroll
      for (int part = 0; part < F::kInner; ++part) {
        const Quad piece = own[(p * F::kInner + part) * kWarp];
        auto& pairs = solved.tiles[p].pairs[part];
        pairs[0] = piece.x;
        pairs[1] = piece.y;
        pairs[2] = piece.z;
        pairs[3] = piece.w;
      }
    return solved;
  }
  /// Asks for them, so that they are near when read.
  __device__ void ask() const {
    constexpr int kLanes = 128 / sizeof(Quad);
    if (threadIdx.x % kLanes != 0) return;
#pragma unroll
    for (int i = 0; i < kTokenBlocks * F::kInner; ++i) prefetch(own + i * kWarp);
  }
};

/// The same of the first part of backward.
template <class F>
struct FirstAdjointMemory {
  static constexpr int kTokenBytes = F::Tokens::bytes(kTokens);
  static constexpr int kFeatureBytes = F::Features::bytes(F::kWidth);
  static constexpr int kScoreBytes = F::Scores::bytes(kTokens);
  static constexpr int kBytes =
      2 * kTokenBytes + 2 * kFeatureBytes + F::State::bytes(F::kWidth) + 2 * kScoreBytes;

  typename F::Tokens q, upstream;
  typename F::Features z;              // Z^T
  typename F::Features w;              // W^T, then y^T and h^T on their way out
  typename F::State memory;            // S
  typename F::Scores scores;           // tril(Q W^T)
  typename F::Scores upstream_scores;  // tril(dO Z^T)

  __device__ explicit FirstAdjointMemory(unsigned char* place)
      : q(split_at<typename F::Tokens>(place, kTokens)),
        upstream(split_at<typename F::Tokens>(place += kTokenBytes, kTokens)),
        z(split_at<typename F::Features>(place += kTokenBytes, F::kWidth)),
        w(split_at<typename F::Features>(place += kFeatureBytes, F::kWidth)),
        memory(split_at<typename F::State>(place += kFeatureBytes, F::kWidth)),
        scores(split_at<typename F::Scores>(place += F::State::bytes(F::kWidth), kTokens)),
        upstream_scores(split_at<typename F::Scores>(place + kScoreBytes, kTokens)) {}
};

/// The same of the last part of backward.
template <class F>
struct LastAdjointMemory {
  static constexpr int kTokenBytes = F::Tokens::bytes(kTokens);
  static constexpr int kFeatureBytes = F::Features::bytes(F::kWidth);
  static constexpr int kScoreBytes = F::Scores::bytes(kTokens);
  static constexpr int kSharedBytes = std::max(F::State::bytes(F::kWidth), 2 * kScoreBytes);
  static constexpr int kBytes =
      3 * ChunkMemory<F>::kRootBytes + 3 * kTokenBytes + 2 * kFeatureBytes + kSharedBytes;

  float *weight, *key_products, *value_products;
  typename F::Tokens k, v, upstream;
  typename F::Features y, h;
  typename F::State memory;  // D, then
  typename F::Scores key_scores, value_scores;

  __device__ explicit LastAdjointMemory(unsigned char* place)
      : weight(reinterpret_cast<float*>(place)),
        key_products(weight + kTokens),
        value_products(key_products + kTokens),
        k(split_at<typename F::Tokens>(place += 3 * ChunkMemory<F>::kRootBytes, kTokens)),
        v(split_at<typename F::Tokens>(place += kTokenBytes, kTokens)),
        upstream(split_at<typename F::Tokens>(place += kTokenBytes, kTokens)),
        y(split_at<typename F::Features>(place += kTokenBytes, F::kWidth)),
        h(split_at<typename F::Features>(place += kFeatureBytes, F::kWidth)),
        memory(split_at<typename F::State>(place += kFeatureBytes, F::kWidth)),
        key_scores(split_at<typename F::Scores>(place, kTokens)),
        value_scores(split_at<typename F::Scores>(place + kScoreBytes, kTokens)) {}
};

/// Calls function(std::integral_constant<int, width>{}) with the width that heads are padded to.
/// False where they are too wide.
template <class T, class Function>
bool dispatch_width(int width, Function&& function) {
  const auto at_most = [&](auto most) {
    if (width > most) return false;
    function(most);
    return true;
  };
  if (at_most(std::integral_constant<int, 32>()) || at_most(std::integral_constant<int, 64>()))
    return true;
  if constexpr (std::is_same_v<T, BFloat16>) return at_most(std::integral_constant<int, 128>());
  return false;
}

/// The warp's rows of [W Z]^T = (L^-1 [U A, sqrt(beta) V - U S^T])^T, with L left in `factor`. k, v
/// and root must be there; afterwards w and scores may be written. While the warps of keys
/// factorise, those of values do `meanwhile`; those of keys do it after that, since what it leaves
/// in registers would be in their way.
template <class F, class Meanwhile>
__device__ typename F::Solved solve_chunk(const typename F::Stacked& state,
                                          const typename F::Tokens& k, const typename F::Tokens& v,
                                          const float* root, const typename F::Features& w,
                                          const Symmetric<kTokenBlocks>& gram,
                                          const typename F::Scores& factor, const WarpRows& rows,
                                          const Reporter& reporter, Meanwhile meanwhile) {
  typename F::OfTokens right;
  clear(right);
  add_times_transposed<F::kInner>(right, state, k);
  if (rows.of_values) {
#pragma unroll
    for (int j = 0; j < kTokenBlocks; ++j) {
      const Tile value = load_sum<true>(v, kSide * j, rows.first());
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          right.tiles[j].values[i][e] = value.values[i][e] - right.tiles[j].values[i][e];
    }
    scale_columns(right, root);
    meanwhile();
  } else {
    scale_columns(right, root);
    store(right, w, rows.first());
    F::KeyWarps::sync();
    for_lower_blocks(kTokenBlocks, rows.block, F::kBlocks, [&](int i, int j) {
      Tile sum = block_product<F::kBlocks>(
          [&](int p) { return load_left<true>(w, kSide * p, kSide * i); },
          [&](int p) { return load_right<true>(k, kSide * j, kSide * p); });
      for_tile(sum, [&](int row, int column, float& x) {
        x *= root[kSide * j + column];
        if (i == j && row == column) x += 1;
      });
      gram.store(sum, i, j);
    });
    F::KeyWarps::sync();
    const bool positive = factorize<typename F::KeyWarps>(gram, factor);
    if (!positive && threadIdx.x == 0) reporter.found(Problem::penalty_not_definite);
#pragma unroll
    for (int j = 0; j < kTokenBlocks; ++j) right.tiles[j] = load_sum(w, rows.first(), kSide * j);
    meanwhile();
  }
  __syncthreads();
  return divided_by_transposed(right, factor);
}

/// scores <- tril(X R^T) for vectors X of the chunk's tokens and R^T (width, kTokens).
template <class F>
__device__ void causal_scores(const typename F::Tokens& x, const typename F::Features& r,
                              const typename F::Scores& scores) {
  for_causal_blocks<F>([&](int i, int j) {
    Tile sum =
        block_product<F::kBlocks>([&](int p) { return load_left(x, kSide * i, kSide * p); },
                                  [&](int p) { return load_right(r, kSide * p, kSide * j); });
    if (i == j) keep_lower(sum);
    store(sum, scores, kSide * i, kSide * j);
  });
}

/// strip += sign solved scores^T, sign being -1 with `subtract`.
template <class F, bool subtract = false>
__device__ void add_scores(typename F::OfTokens& strip, const typename F::Solved& solved,
                           const typename F::Scores& scores) {
#pragma unroll
  for (int p = 0; p < kTokenBlocks; ++p) {
    Left<F::kInner> left = solved.tiles[p];
    if constexpr (subtract) left = negative(left);
    add_outer(
        strip, left, [&](int j) { return load_right<true>(scores, kSide * j, kSide * p); }, p);
  }
}

/// A <- A - W^T W and S <- S + Z^T W.
template <class F>
__device__ void advance_state(typename F::Stacked& state, const typename F::Solved& solved,
                              const typename F::Features& w, const WarpRows& rows) {
#pragma unroll
  for (int p = 0; p < kTokenBlocks; ++p) {
    Left<F::kInner> left = solved.tiles[p];
    if (!rows.of_values) left = negative(left);
    add_outer(state, left, [&](int j) { return load_right<true>(w, kSide * j, kSide * p); });
  }
}

}  // namespace vla::cuda
