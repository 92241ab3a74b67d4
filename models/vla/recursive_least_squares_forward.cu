// The forward kernels of recursive least squares. S_t M_t is a plain sum, N_t = sum of beta v k^T,
// as M_t is. So the state at the start of every segment comes from prefix sums, S = N A, and
// segments do not wait for each other: there is no scan.
//
//   segment_sums    what each segment adds to M and N, stacked
//   scan_segments   M - lambda0 I and N before each segment, and after the last
//   start_kernel    A = M^-1 and S = N A at the start of each segment
//   attend          the chunks of a segment: with u = sqrt(beta) k and A, S as a chunk begins,
//                     L L^T = I + U A U^T,   [W Z] = L^-1 [U A, sqrt(beta) V - U S^T],
//                     O = Q S^T + tril(Q W^T) Z,   A <- A - W^T W,   S <- S + Z^T W
//                   (the Kalman filter in square-root form, for a chunk of observations at once).
//
// Products are taken with the parts that Format names: two for bfloat16 inputs (error of o about
// 1e-5 before it is rounded to bfloat16), three for float32.
#include "models/vla/least_squares_chunk.cuh"
#include "models/vla/least_squares_sums.cuh"

namespace vla::cuda {
namespace {

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
    attend(const LeastSquaresArrays<T> in, const Segments segments, const float* starts,
           BFloat16* solutions, const LeastSquaresOutputs<T> out, ProblemNote* note) {
  using F = Format<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const ChunkMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked state;
  read_rows(state, starts + segments.offset(blockIdx.x, width), rows.first_stacked<F>());
  const auto load = [&](Index chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const auto into = shared.buffer(chunk);
    load_tokens(into.k, in.k, at, in.n, in.n.key);
    load_tokens(into.q, in.q, at, in.n, in.n.key);
    load_tokens(into.v, in.v, at, in.n, in.n.value);
    load_roots(into.root, in.beta, at, in.n);
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
                                         if (!rows.of_values) return;
                                         add_times_transposed<F::kInner>(output, state, tokens.q);
                                         shared.parked.put(output);
                                       });
    if (solutions) KeptSolution<F>(solutions, in.n, at).put(solved);
    if (!rows.of_values) store(solved, shared.w, rows.first());
    __syncthreads();
    causal_scores<F>(tokens.q, shared.w, shared.scores);
    advance_state<F>(state, solved, shared.w, rows);
    __syncthreads();
    const auto outgoing = outgoing_at<T>(tokens.q);
    if (rows.of_values) {
      shared.parked.take_back(output);
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
LeastSquaresKept run(const LeastSquaresArrays<T>& in, const LeastSquaresOutputs<T>& out, bool keep,
                     Device device) {
  using F = Format<T, width>;
  const Segments segments = segments_for(in.n, F::kAtOnce, device);
  LeastSquaresKept kept;
  kept.starts = segment_starts<T, width, true>({in.n, in.k, in.v, in.beta}, in.lambda0, segments,
                                               out.penalty, device);
  if (keep)
    kept.solutions = Tensor({segments.all_heads() * segments.chunks, KeptSolution<F>::kElements},
                            DType::bfloat16, device);
  Launch("least_squares attend", device)(
      attend<T, width>,
      Grid{dim3(static_cast<unsigned>(segments.total())), F::kThreads, ChunkMemory<F>::kBytes}, in,
      segments, kept.starts.template data<float>(),
      keep ? kept.solutions.template mutable_data<BFloat16>() : nullptr, out, problem_note(device));
  return kept;
}

}  // namespace

bool least_squares_fits(Index key, Index value, DType dtype, Device device) {
  if (dtype != DType::bfloat16 && dtype != DType::float32) return false;
  std::size_t needed = 0;
  const auto need = [&](auto zero) {
    using T = decltype(zero);
    return dispatch_width<T>(static_cast<int>(std::max(key, value)), [&](auto width) {
      using F = Format<T, width>;
      needed = std::max<std::size_t>({SumMemory<F>::kBytes, ChunkMemory<F>::kBytes,
                                      FirstAdjointMemory<F>::kBytes, LastAdjointMemory<F>::kBytes,
                                      start_bytes(width)});
    });
  };
  const bool narrow_enough = dtype == DType::bfloat16 ? need(BFloat16()) : need(float());
  return narrow_enough && properties(device).major >= 8 &&
         needed <= properties(device).shared_bytes;
}

template <class T>
LeastSquaresKept least_squares(const LeastSquaresArrays<T>& in, const LeastSquaresOutputs<T>& out,
                               bool keep, Device device) {
  LeastSquaresKept kept;
  dispatch_width<T>(std::max(in.n.key, in.n.value),
                    [&](auto width) { kept = run<T, width>(in, out, keep, device); });
  return kept;
}

template LeastSquaresKept least_squares(const LeastSquaresArrays<BFloat16>&,
                                        const LeastSquaresOutputs<BFloat16>&, bool, Device);
template LeastSquaresKept least_squares(const LeastSquaresArrays<float>&,
                                        const LeastSquaresOutputs<float>&, bool, Device);

}  // namespace vla::cuda
