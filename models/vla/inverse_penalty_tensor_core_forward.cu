// The inverse penalty on tensor cores, forward: recursive least squares without values, so the same
// steps (see recursive_least_squares_forward.cu), parallel over segments by prefix sums of M.
//
//   segment_sums   what each segment adds to M
//   scan_segments  M - lambda0 I before each segment, and after the last
//   start_kernel   A = M^-1 at the start of each segment
//   apply          the chunks of a segment: with u' = sqrt(weight) u and A as a chunk begins,
//                    L L^T = I + U' A U'^T,   W = L^-1 U' A,
//                    Y = X A - tril(X W^T) W,   A <- A - W^T W
//
// Measured against float64, d = 64, T = 1000: y in bfloat16 1.7e-3 (what rounding it costs), in
// float32 4e-6 for lambda0 = 0.1 and 4e-5 for 0.01, M 5e-7.
#include "models/vla/inverse_penalty_tensor_core.cuh"
#include "models/vla/least_squares_sums.cuh"

namespace vla::cuda {
namespace {

template <class T, int width>
__global__ void __launch_bounds__(PenaltyFormat<T, width>::kThreads,
                                  PenaltyFormat<T, width>::kAtOnce)
    apply(const TensorCorePenalty<T> in, const Segments segments, const float* starts, T* y,
          ProblemNote* note) {
  using F = PenaltyFormat<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const PenaltyMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked state;
  read_rows(state, starts + segments.offset(blockIdx.x, width, false), rows.first());
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const Reporter here{note, at};
    __syncthreads();
    load_tokens(shared.u, in.directions, at, in.n, in.n.key);
    load_tokens(shared.x, in.x, at, in.n, in.n.key);
    load_roots(shared.root, in.weights, at, in.n);
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
  const Tensor starts = segment_starts<T, width, false>({in.n, in.directions, nullptr, in.weights},
                                                        in.lambda0, segments, penalty, device);
  Launch("inverse_penalty", device)(
      apply<T, width>,
      Grid{dim3(static_cast<unsigned>(segments.total())), F::kThreads, PenaltyMemory<F>::kBytes},
      in, segments, starts.data<float>(), y, problem_note(device));
  return starts;
}

}  // namespace

bool tensor_cores_fit_penalty(Index width, DType dtype, Device device) {
  std::size_t needed = 0;
  const auto need = [&](auto zero) {
    using T = decltype(zero);
    return dispatch_width<T>(static_cast<int>(width), [&](auto padded) {
      using F = PenaltyFormat<T, padded>;
      needed = std::max<std::size_t>({SumMemory<F>::kBytes, PenaltyMemory<F>::kBytes,
                                      PenaltyAdjointMemory<F>::kBytes, start_bytes(padded)});
    });
  };
  const bool narrow_enough = dtype == DType::bfloat16  ? need(BFloat16())
                             : dtype == DType::float32 ? need(float())
                                                       : false;
  return narrow_enough && properties(device).major >= 8 &&
         needed <= properties(device).shared_bytes;
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
