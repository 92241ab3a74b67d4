// The forward kernels of recursive least squares. S_t M_t is a plain sum, N_t = sum of beta v k^T,
// as M_t is. So the state at the start of every segment comes from prefix sums, S = N A, and
// segments do not wait for each other: there is no scan.
//
//   segment_sums    what each segment adds to M and N, stacked
//   prefix_sums     M - lambda0 I and N before each segment, and after the last
//   attend          A = M^-1 and S = N A at the start of a segment, then its chunks: with
//                   u = sqrt(beta) k and A, S as a chunk begins,
//                     L L^T = I + U A U^T,   [W Z] = L^-1 [U A, sqrt(beta) V - U S^T],
//                     O = Q S^T + tril(Q W^T) Z,   A <- A - W^T W,   S <- S + Z^T W
//                   (the Kalman filter in square-root form, for a chunk of observations at once).
//
// Products are taken with the parts that Format names: two for bfloat16 inputs (error of o about
// 1e-5 before it is rounded to bfloat16), three for float32.
#include "models/vla/least_squares_chunk.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {
namespace {

// [M; N] of a segment without its past: [K; V]^T (beta K).
template <class T, int width>
__global__ void __launch_bounds__(Format<T, width>::kThreads)
    segment_sums(const LeastSquaresArrays<T> in, const Segments segments, float* sums,
                 ProblemNote* note) {
  using F = Format<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const auto k = split_at<typename F::Tokens>(memory, kTokens);
  const auto v = split_at<typename F::Tokens>(memory + k.bytes(kTokens), kTokens);
  const auto weighted = split_at<typename F::Weighted>(memory + 2 * k.bytes(kTokens), kTokens);
  __shared__ float beta[kTokens];
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked sum;
  clear(sum);
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    __syncthreads();
    load_tokens(k, in.k, at, in.n, in.n.key);
    load_tokens(v, in.v, at, in.n, in.n.value);
    load_checked_weights(beta, in.beta, at, in.n, note);
    if (chunk + 1 < segment.end) {
      const ChunkPlace next(in.n, segment, chunk + 1);
      prefetch_tokens(in.k, next, in.n, in.n.key);
      prefetch_tokens(in.v, next, in.n, in.n.value);
    }
    wait_for_copies();
    __syncthreads();
    weigh_tokens<F>(k, beta, weighted);
    __syncthreads();
    const typename F::Tokens vectors = either(rows.of_values, v, k);
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p)
      add_outer(sum, load_left<true>(vectors, kSide * p, kSide * rows.block),
                [&](int j) { return load_right(weighted, kSide * p, kSide * j); });
  }
  write_rows(sum, sums + segments.offset(blockIdx.x, width), rows.first_stacked<F>());
}

// The rows from first_row on of a matrix (rows, columns), without their padding.
template <int n>
__device__ void write_unpadded(Strip<n>& strip, float* to, int first_row, int rows, int columns) {
#pragma unroll
  for (int j = 0; j < n; ++j)
    for_tile(strip.tiles[j], [&](int i, int column, float x) {
      if (first_row + i < rows && kSide * j + column < columns)
        to[(first_row + i) * columns + kSide * j + column] = x;
    });
}

template <class T, int width>
__global__ void __launch_bounds__(Format<T, width>::kThreads, Format<T, width>::kAtOnce)
    attend(const LeastSquaresArrays<T> in, const Segments segments, float* states,
           const LeastSquaresOutputs<T> out, ProblemNote* note) {
  using F = Format<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const ChunkMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  const ChunkPlace begin(in.n, segment, segment.first);
  const Reporter reporter{note, begin};
  typename F::Stacked state;
  start_segment<F>(state, memory, in.lambda0[begin.head],
                   states + segments.offset(blockIdx.x, width), rows, reporter);
  const auto load = [&](Index chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const auto into = shared.buffer(chunk);
    load_tokens(into.k, in.k, at, in.n, in.n.key);
    load_tokens(into.q, in.q, at, in.n, in.n.key);
    load_tokens(into.v, in.v, at, in.n, in.n.value);
    load_weights(into.root, in.beta, at, in.n, [](float weight) { return sqrtf(weight); });
  };
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const auto tokens = shared.buffer(chunk);
    if (shared.kBuffers == 1 || chunk == segment.first) {
      __syncthreads();
      load(chunk);
    }
    wait_for_copies();
    __syncthreads();
    if (shared.kBuffers > 1 && chunk + 1 < segment.end) load(chunk + 1);
    typename F::OfTokens output;
    const auto solved = solve_chunk<F>(state, tokens.k, tokens.v, tokens.root, shared.w,
                                       shared.gram, shared.factor, rows, {note, at}, [&] {
                                         clear(output);
                                         if (rows.of_values)
                                           add_times_transposed<F::kInner>(output, state, tokens.q);
                                       });
    if (!rows.of_values) store(solved, shared.w, rows.first());
    __syncthreads();
    causal_scores<F>(tokens.q, shared.w, shared.scores);
    advance_state<F>(state, solved, shared.w, rows);
    __syncthreads();
    const auto outgoing = outgoing_at<T>(tokens.q);
    if (rows.of_values) {
      add_scores<F>(output, solved, shared.scores);
      outgoing.put(output, rows.first());
    }
    __syncthreads();
    outgoing.write(out.o, at, in.n, in.n.value);
  }
  if (out.memory && rows.of_values && segment.end == segments.chunks)
    write_unpadded(
        state, out.memory + (segment.sequence * in.n.heads + segment.head) * in.n.value * in.n.key,
        rows.first(), in.n.value, in.n.key);
}

template <class T, int width>
Tensor run(const LeastSquaresArrays<T>& in, const LeastSquaresOutputs<T>& out, Device device) {
  using F = Format<T, width>;
  const Segments segments = segments_for(in.n, F::kAtOnce, device);
  Tensor states({segments.total(), 2 * width, width}, DType::float32, device);
  float* sums = states.mutable_data<float>();
  Tensor totals({in.n.all_heads(), 2 * width, width}, DType::float32, device);
  const auto blocks = dim3(static_cast<unsigned>(segments.total()));
  Launch("least_squares sums", device)(
      segment_sums<T, width>,
      Grid{blocks, F::kThreads,
           static_cast<std::size_t>(2 * F::Tokens::bytes(kTokens) + F::Weighted::bytes(kTokens))},
      in, segments, sums, problem_note(device));
  add_up_segments(segments, 2 * width * width, sums, totals.mutable_data<float>(), false, device);
  Launch("least_squares attend", device)(attend<T, width>,
                                         Grid{blocks, F::kThreads, ChunkMemory<F>::kBytes}, in,
                                         segments, sums, out, problem_note(device));
  if (out.penalty)
    write_penalty(in.n, {totals.data<float>(), 2 * width, width}, in.lambda0, out.penalty, device);
  return states;
}

}  // namespace

bool least_squares_fits(Index key, Index value, DType dtype, Device device) {
  if (dtype != DType::bfloat16 && dtype != DType::float32) return false;
  std::size_t needed = 0;
  const auto need = [&](auto zero) {
    using T = decltype(zero);
    return dispatch_width<T>(static_cast<int>(std::max(key, value)), [&](auto width) {
      using F = Format<T, width>;
      needed = std::max(
          {ChunkMemory<F>::kBytes, FirstAdjointMemory<F>::kBytes, LastAdjointMemory<F>::kBytes});
    });
  };
  const bool narrow_enough = dtype == DType::bfloat16 ? need(BFloat16()) : need(float());
  return narrow_enough && needed <= properties(device).shared_bytes;
}

template <class T>
Tensor least_squares(const LeastSquaresArrays<T>& in, const LeastSquaresOutputs<T>& out,
                     Device device) {
  Tensor states;
  dispatch_width<T>(std::max(in.n.key, in.n.value),
                    [&](auto width) { states = run<T, width>(in, out, device); });
  return states;
}

template Tensor least_squares(const LeastSquaresArrays<BFloat16>&,
                              const LeastSquaresOutputs<BFloat16>&, Device);
template Tensor least_squares(const LeastSquaresArrays<float>&, const LeastSquaresOutputs<float>&,
                              Device);

}  // namespace vla::cuda
