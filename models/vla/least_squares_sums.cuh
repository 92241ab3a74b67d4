// What the tokens of each segment add to M and to N = sum of beta v k^T, stacked.
#pragma once

#include "models/vla/least_squares_chunk.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {

/// k (B, T, H, n.key), v (B, T, H, n.value), beta (B, T, H), which may be null for 1.
template <class T>
struct SummedArrays {
  LeastSquaresSizes n;
  const T *k, *v;
  const float* beta;
};

/// The shared memory of segment_sums. A block takes some of the columns of [M; N].
template <class F>
struct SumMemory {
  static constexpr int kColumns = std::min(F::kWidth, 64), kColumnBlocks = kColumns / kSide;
  /// As accurate as float32 for every type of inputs: what is wrong in M is divided by lambda0.
  using Weighted = Split<3, kColumns>;  // (kTokens, kColumns): beta k
  static constexpr int kTokenBytes = F::Tokens::bytes(kTokens);
  static constexpr int kBuffers = F::kNarrow ? 2 : 1;
  static constexpr int kBufferBytes = (F::kHasValues ? 2 : 1) * kTokenBytes;
  static constexpr int kBytes = kBuffers * kBufferBytes + Weighted::bytes(kTokens);

  struct Buffer {
    typename F::Tokens k, v;
  };
  unsigned char* buffers;
  Weighted weighted;

  __device__ explicit SumMemory(unsigned char* place)
      : buffers(place), weighted(split_at<Weighted>(place + kBuffers * kBufferBytes, kTokens)) {}

  __device__ Buffer buffer(Index chunk) const {
    unsigned char* place = buffers + (kBuffers == 1 ? 0 : chunk % 2 * kBufferBytes);
    return {split_at<typename F::Tokens>(place, kTokens),
            split_at<typename F::Tokens>(place + kTokenBytes, kTokens)};
  }
};

/// sums (segments, rows, width) <- [K; V]^T (beta K) of each segment. A chunk is summed on the
/// tensor cores, chunks in float64: a sequence may have one key a million times. Measured against
/// float64, T 32768 with one to eight different keys: M 1.6e-7 with bfloat16 inputs, 4e-7 with
/// float32.
template <class T, int width, bool has_values>
__global__ void __launch_bounds__(Format<T, width, has_values>::kThreads,
                                  Format<T, width, has_values>::kAtOnce)
    segment_sums(const SummedArrays<T> in, const Segments segments, double* sums,
                 ProblemNote* note) {
  using F = Format<T, width, has_values>;
  using Memory = SumMemory<F>;
  extern __shared__ __align__(16) unsigned char memory[];
  const Memory shared(memory);
  __shared__ float beta[kTokens];
  // A warp's columns of the result, 16, and its rows.
  constexpr int kRowBlocks = Memory::kColumnBlocks;
  const int warp = threadIdx.x / kWarp, columns = warp % Memory::kColumnBlocks;
  const int first_row = warp / Memory::kColumnBlocks * kSide * kRowBlocks;
  const bool of_values = first_row >= width;
  const SegmentPlace segment = segments.place(blockIdx.x);
  const int first_column = Memory::kColumns * static_cast<int>(blockIdx.y);
  const auto load = [&](Index chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const auto into = shared.buffer(chunk);
    load_tokens(into.k, in.k, at, in.n, in.n.key);
    if constexpr (has_values) load_tokens(into.v, in.v, at, in.n, in.n.value);
  };
  float weight = weight_of(in.beta, ChunkPlace(in.n, segment, segment.first), in.n);
  double sum[kRowBlocks][2][4] = {};
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const auto tokens = shared.buffer(chunk);
    if (Memory::kBuffers == 1 || chunk == segment.first) {
      __syncthreads();
      load(chunk);
    }
    if (!(weight >= 0))
      Reporter{note, at}.found(Problem::penalty_weight, weight, static_cast<int>(threadIdx.x));
    put_weights(beta, weight);
    wait_for_copies();
    __syncthreads();
    if (chunk + 1 < segment.end) {
      weight = weight_of(in.beta, ChunkPlace(in.n, segment, chunk + 1), in.n);
      if (Memory::kBuffers > 1) load(chunk + 1);
    }
    for (int block = threadIdx.x / kWarp; block < kTokenBlocks * Memory::kColumnBlocks;
         block += F::kWarps) {
      const int i = block / Memory::kColumnBlocks, j = block % Memory::kColumnBlocks;
      Tile tile = load_sum(tokens.k, kSide * i, first_column + kSide * j);
      for_tile(tile, [&](int t, int, float& x) {
        if (!isfinite(x)) Reporter{note, at}.found(Problem::penalty_direction, x, kSide * i + t);
        x *= beta[kSide * i + t];
      });
      store(tile, shared.weighted, kSide * i, kSide * j);
    }
    __syncthreads();
    // Vectors have fewer parts than beta k, so they are what every warp reads again.
    Left<3> left[kTokenBlocks];
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p)
      left[p] = load_left<true>(shared.weighted, kSide * p, kSide * columns);
    const typename F::Tokens vectors = either(of_values, tokens.v, tokens.k);
#pragma unroll
    for (int j = 0; j < kRowBlocks; ++j) {
      const Tile tile = block_product<kTokenBlocks>(
          [&](int p) { return left[p]; },
          [&](int p) { return load_right(vectors, kSide * p, (first_row + kSide * j) % width); });
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[j][i][e] += tile.values[i][e];
    }
  }
  double* to = sums + segments.offset(blockIdx.x, width, has_values) + first_column;
#pragma unroll
  for (int j = 0; j < kRowBlocks; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        to[(first_row + kSide * j + tile_column(i) + e % 2) * width + kSide * columns +
           tile_row(e / 2)] = sum[j][i][e];
}

/// A and, with values, S at the start of every segment: (segments, rows, width), stacked. M (B, H,
/// d, d) after the last token goes to `penalty`, which may be null.
template <class T, int width, bool has_values>
Tensor segment_starts(const SummedArrays<T>& in, const float* lambda0, const Segments& segments,
                      double* penalty, Device device) {
  using F = Format<T, width, has_values>;
  using Memory = SumMemory<F>;
  const int rows = (has_values ? 2 : 1) * width;
  Tensor sums({segments.total(), rows, width}, DType::float64, device);
  Tensor totals({segments.all_heads(), rows, width}, DType::float64, device);
  Launch("least_squares sums", device)(
      segment_sums<T, width, has_values>,
      Grid{dim3(static_cast<unsigned>(segments.total()), width / Memory::kColumns), F::kThreads,
           Memory::kBytes},
      in, segments, sums.mutable_data<double>(), problem_note(device));
  add_up_segments(segments, rows * width, sums.mutable_data<double>(),
                  totals.mutable_data<double>(), false, device);
  if (penalty) write_penalty(in.n, {totals.data<double>(), rows, width}, lambda0, penalty, device);
  Tensor starts({segments.total(), rows, width}, DType::float32, device);
  start_segments(in.n, segments, width, has_values, sums.data<double>(), lambda0,
                 starts.mutable_data<float>(), device);
  return starts;
}

}  // namespace vla::cuda
