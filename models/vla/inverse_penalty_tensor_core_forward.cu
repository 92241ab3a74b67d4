// The inverse penalty on tensor cores, forward: recursive least squares without values, so the same
// steps (see recursive_least_squares_forward.cu), parallel over segments by prefix sums of M.
//
//   segment_sums   what each segment adds to M
//   prefix_sums    M - lambda0 I before each segment, and after the last
//   apply          A = M^-1 at the start of a segment, then its chunks: with u' = sqrt(weight) u
//                  and A as a chunk begins,
//                    L L^T = I + U' A U'^T,   W = L^-1 U' A,
//                    Y = X A - tril(X W^T) W,   A <- A - W^T W
//
// Measured against float64, d = 64, T = 1000: y in bfloat16 1.7e-3 (what rounding it costs), in
// float32 4e-6 for lambda0 = 0.1 and 4e-5 for 0.01, M 5e-7.
#include "models/vla/inverse_penalty_tensor_core.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {
namespace {

// M of a segment without its past: U^T (weight U).
template <class T, int width>
__global__ void __launch_bounds__(PenaltyFormat<T, width>::kThreads)
    segment_sums(const TensorCorePenalty<T> in, const Segments segments, float* sums,
                 ProblemNote* note) {
  using F = PenaltyFormat<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const auto u = split_at<typename F::Tokens>(memory, kTokens);
  const auto weighted = split_at<typename F::Weighted>(memory + u.bytes(kTokens), kTokens);
  __shared__ float weight[kTokens];
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked sum;
  clear(sum);
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const Reporter here{note, at};
    __syncthreads();
    load_tokens(u, in.directions, at, in.n, in.n.key);
    load_checked_weights(weight, in.weights, at, in.n, note);
    if (chunk + 1 < segment.end)
      prefetch_tokens(in.directions, ChunkPlace(in.n, segment, chunk + 1), in.n, in.n.key);
    wait_for_copies();
    __syncthreads();
    weigh_tokens<F>(u, weight, weighted);
    __syncthreads();
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p)
      add_outer(sum, load_left<true>(u, kSide * p, rows.first()),
                [&](int j) { return load_right(weighted, kSide * p, kSide * j); });
    check_finite(sum, Problem::penalty_direction, here);
  }
  write_rows(sum, sums + Index(blockIdx.x) * width * width, rows.first());
}

template <class T, int width>
__global__ void __launch_bounds__(PenaltyFormat<T, width>::kThreads,
                                  PenaltyFormat<T, width>::kAtOnce)
    apply(const TensorCorePenalty<T> in, const Segments segments, float* starts, T* y,
          ProblemNote* note) {
  using F = PenaltyFormat<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const PenaltyMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  const Reporter reporter{note, ChunkPlace(in.n, segment, segment.first)};
  typename F::Stacked state;
  start_segment<F>(state, memory, in.lambda0[segment.head],
                   starts + Index(blockIdx.x) * width * width, rows, reporter);
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const Reporter here{note, at};
    __syncthreads();
    load_tokens(shared.u, in.directions, at, in.n, in.n.key);
    load_tokens(shared.x, in.x, at, in.n, in.n.key);
    load_weights(shared.root, in.weights, at, in.n, [](float weight) { return sqrtf(weight); });
    if (chunk + 1 < segment.end) {
      const ChunkPlace next(in.n, segment, chunk + 1);
      prefetch_tokens(in.directions, next, in.n, in.n.key);
      if (in.x != in.directions) prefetch_tokens(in.x, next, in.n, in.n.key);
    }
    wait_for_copies();
    __syncthreads();
    const auto solved = solve_chunk<F>(state, shared.u, {}, shared.root, shared.w, shared.gram,
                                       shared.factor, rows, here, [] {});
    store(solved, shared.w, rows.first());
    typename F::OfTokens output;
    clear(output);
    add_times_transposed<F::kInner>(output, state, shared.x);
    __syncthreads();
    causal_scores<F>(shared.x, shared.w, shared.scores);
    advance_state<F>(state, solved, shared.w, rows);
    __syncthreads();
    add_scores<F, true>(output, solved, shared.scores);
    check_finite(output, Problem::penalty_vector, here);
    const auto outgoing = outgoing_at<T>(shared.x);
    outgoing.put(output, rows.first());
    __syncthreads();
    outgoing.write(y, at, in.n, in.n.key);
  }
}

template <class T, int width>
Tensor run(const TensorCorePenalty<T>& in, T* y, double* penalty, Device device) {
  using F = PenaltyFormat<T, width>;
  const Segments segments = segments_for(in.n, F::kAtOnce, device);
  Tensor starts({segments.total(), width, width}, DType::float32, device);
  Tensor totals({in.n.all_heads(), width, width}, DType::float32, device);
  float* sums = starts.mutable_data<float>();
  const auto blocks = dim3(static_cast<unsigned>(segments.total()));
  constexpr std::size_t kSumBytes = F::Tokens::bytes(kTokens) + F::Weighted::bytes(kTokens);
  Launch("inverse_penalty sums", device)(segment_sums<T, width>,
                                         Grid{blocks, F::kThreads, kSumBytes}, in, segments, sums,
                                         problem_note(device));
  add_up_segments(segments, width * width, sums, totals.mutable_data<float>(), false, device);
  write_penalty(in.n, {totals.data<float>(), width, width}, in.lambda0, penalty, device);
  Launch("inverse_penalty", device)(apply<T, width>,
                                    Grid{blocks, F::kThreads, PenaltyMemory<F>::kBytes}, in,
                                    segments, sums, y, problem_note(device));
  return starts;
}

}  // namespace

bool tensor_cores_fit_penalty(Index width, DType dtype, Device device) {
  std::size_t needed = 0;
  const auto need = [&](auto zero) {
    using T = decltype(zero);
    return dispatch_width<T>(static_cast<int>(width), [&](auto padded) {
      using F = PenaltyFormat<T, padded>;
      needed = std::max(PenaltyMemory<F>::kBytes, PenaltyAdjointMemory<F>::kBytes);
    });
  };
  const bool narrow_enough = dtype == DType::bfloat16  ? need(BFloat16())
                             : dtype == DType::float32 ? need(float())
                                                       : false;
  return narrow_enough && needed <= properties(device).shared_bytes;
}

template <class T>
Tensor apply_on_tensor_cores(const TensorCorePenalty<T>& in, T* y, double* penalty, Device device) {
  Tensor starts;
  dispatch_width<T>(in.n.key, [&](auto width) { starts = run<T, width>(in, y, penalty, device); });
  return starts;
}

template Tensor apply_on_tensor_cores(const TensorCorePenalty<BFloat16>&, BFloat16*, double*,
                                      Device);
template Tensor apply_on_tensor_cores(const TensorCorePenalty<float>&, float*, double*, Device);

}  // namespace vla::cuda
