// The inverse penalty on tensor cores, backward (math.md, 2; the same steps as those of
// recursive_least_squares_backward.cu). For g the gradient of y, and per token
//
//   y_t = A_t x_t,   h_t = A_t g_t,   F_s = sum over t >= s of h_t y_t^T + y_t h_t^T
//
// the gradients are dx = h and, with r_s = -F_s u_s,
//
//   du_s = weight_s r_s,   dweight_s = u_s . r_s / 2,   dlambda0 = - sum of h_t . y_t
//
// Where x and u are the same, dx and du may all but cancel (to 1/14 for lambda0 = 0.01), so they
// are added before they are rounded to bfloat16 (rounded first, d = 128: 3.5e-2).
//
// Measured against float64, x and u apart, d = 64, T = 1000: gradients in bfloat16 2e-3, in float32
// 5e-6 for lambda0 = 0.1 and 4e-5 for 0.01; in float32 with x = u 1e-5 and 4e-4.
//
//   solve_again     y and h of all chunks, as forward goes through them; dx, and what each segment
//                   adds to sum of h y^T
//   differentiate   du and dweight, chunk by chunk from the last; F of the segments after each
//                   comes from suffix sums
#include "models/vla/inverse_penalty_tensor_core.cuh"
#include "models/vla/least_squares_adjoint.cuh"

namespace vla::cuda {
namespace {

template <class T, int width>
__global__ void __launch_bounds__(PenaltyFormat<T, width>::kThreads,
                                  PenaltyFormat<T, width>::kAtOnce)
    solve_again(const TensorCorePenalty<T> in, const Segments segments, const float* starts,
                const T* upstream, BFloat16* solved_chunks, T* gradient, float* sums,
                ProblemNote* note) {
  using F = PenaltyFormat<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const PenaltyMemory<F> shared(memory);
  // Where others have been.
  const typename F::Tokens& g = shared.u;
  const typename F::Scores& upstream_scores = shared.factor;
  const typename F::Features h = shared.h();
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked state, sum;
  read_rows(state, starts + segments.offset(blockIdx.x, width, false), rows.first());
  clear(sum);
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const Reporter here{note, at};
    const SolvedChunk<F> out(solved_chunks, segments, segment, chunk);
    __syncthreads();
    load_tokens(shared.u, in.directions, at, in.n, in.n.key);
    load_tokens(shared.x, in.x, at, in.n, in.n.key);
    load_roots(shared.root, in.weights, at, in.n);
    prefetch_tokens(upstream, at, in.n, in.n.key);
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
    typename F::OfTokens of_y, of_h;
    clear(of_y);
    add_times_transposed<F::kInner>(of_y, state, shared.x);
    __syncthreads();  // u and the factor are done with
    load_tokens(g, upstream, at, in.n, in.n.key);
    causal_scores<F>(shared.x, shared.w, shared.scores);
    wait_for_copies();
    __syncthreads();
    add_scores<F, true>(of_y, solved, shared.scores);
    causal_scores<F>(g, shared.w, upstream_scores);
    clear(of_h);
    add_times_transposed<F::kInner>(of_h, state, g);
    advance_state<F>(state, solved, shared.w, rows);
    __syncthreads();  // W is done with
    store(of_y, shared.w, rows.first());
    add_scores<F, true>(of_h, solved, upstream_scores);
    check_finite(of_h, Problem::penalty_upstream, here);
    __syncthreads();  // and so are the scores
    store(of_h, h, rows.first());
    const auto outgoing = outgoing_at<T>(shared.x);
    outgoing.put(of_h, rows.first());
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p)
      add_outer(sum, as_left<F::kInner>(of_h.tiles[p]),
                [&](int j) { return load_right<true>(shared.w, kSide * j, kSide * p); });
    __syncthreads();
    if (gradient) outgoing.write(gradient, at, in.n, in.n.key);
    write_features<F>(shared.w, out.y);
    write_features<F>(h, out.h);
  }
  write_rows(sum, sums + segments.offset(blockIdx.x, width, false), rows.first());
}

// strip += the warp's rows of features.
template <class F>
__device__ void add_rows(typename F::OfTokens& strip, const typename F::Features& features,
                         const WarpRows& rows) {
#pragma unroll
  for (int j = 0; j < kTokenBlocks; ++j) {
    const Tile tile = load_sum(features, rows.first(), kSide * j);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) strip.tiles[j].values[i][e] += tile.values[i][e];
  }
}

template <class T, int width>
__global__ void __launch_bounds__(PenaltyFormat<T, width>::kThreads,
                                  PenaltyFormat<T, width>::kAtOnce)
    differentiate(const TensorCorePenalty<T> in, const Segments segments, const float* sums,
                  BFloat16* solved_chunks, const TensorCoreGradients<T> out) {
  using F = PenaltyFormat<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const PenaltyAdjointMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  // F of the tokens after the chunk.
  typename F::Stacked state;
  const float* after = sums + segments.offset(blockIdx.x, width, false);
  read_rows(state, after, rows.first());
#pragma unroll
  for (int j = 0; j < F::kBlocks; ++j)
    for_tile(state.tiles[j], [&](int row, int column, float& x) {
      x += after[Index(kSide * j + column) * width + rows.first() + row];
    });
  float weight = weight_of(in.weights, ChunkPlace(in.n, segment, segment.end - 1), in.n);
  for (Index chunk = segment.end - 1; chunk >= segment.first; --chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const SolvedChunk<F> from(solved_chunks, segments, segment, chunk);
    __syncthreads();
    load_tokens(shared.u, in.directions, at, in.n, in.n.key);
    load_features<F>(shared.y, from.y);
    load_features<F>(shared.h, from.h);
    put_weights(shared.factor, -weight);
    if (chunk > segment.first) {
      const ChunkPlace next(in.n, segment, chunk - 1);
      weight = weight_of(in.weights, next, in.n);
      prefetch_tokens(in.directions, next, in.n, in.n.key);
      prefetch_features<F>(SolvedChunk<F>(solved_chunks, segments, segment, chunk - 1).y);
    }
    wait_for_copies();
    __syncthreads();
    // F u: first what later chunks give, then h (y . u) and y (h . u) of this one.
    typename F::OfTokens result;
    clear(result);
    add_times_transposed<F::kInner>(result, state, shared.u);
    const auto add_causal = [&](const typename F::Features& vectors,
                                const typename F::Features& with) {
      for_causal_blocks<F>([&](int t, int s) {
        Tile score = block_product<F::kBlocks>(
            [&](int p) { return load_left(shared.u, kSide * s, kSide * p); },
            [&](int p) { return load_right(with, kSide * p, kSide * t); });
        if (s == t) for_tile(score, [](int i, int j, float& x) { x = j >= i ? x : 0; });
        store(score, shared.scores, kSide * s, kSide * t);
      });
      __syncthreads();
#pragma unroll
      for (int p = 0; p < kTokenBlocks; ++p) {
        const auto left = load_left(vectors, rows.first(), kSide * p);
        add_outer(
            result, left,
            [&](int s) { return load_right<true>(shared.scores, kSide * s, kSide * p); }, 0, p + 1);
        add_outer(state, left, [&](int j) { return load_right<true>(with, kSide * j, kSide * p); });
      }
    };
    add_causal(shared.h, shared.y);
    __syncthreads();
    add_causal(shared.y, shared.h);
    add_up_products<F>(result, shared.u, rows, shared.products);
    scale_columns(result, shared.factor);
    if (!out.x) add_rows<F>(result, shared.h, rows);
    const auto outgoing = outgoing_at<T>(shared.u);
    outgoing.put(result, rows.first());
    __syncthreads();
    outgoing.write(out.directions, at, in.n, in.n.key);
    if (!out.weights) continue;
    float* weight_gradient = at.vectors(out.weights, in.n, 1);
    for (int t = threadIdx.x; t < at.count; t += blockDim.x)
      weight_gradient[t * in.n.heads] = -shared.products[t] / 2;
  }
}

template <class T, int width>
void run(const TensorCorePenalty<T>& in, const Tensor& starts, const T* upstream,
         const TensorCoreGradients<T>& out, Device device) {
  using F = PenaltyFormat<T, width>;
  const Segments segments = segments_for(in.n, F::kAtOnce, device);
  const auto blocks = dim3(static_cast<unsigned>(segments.total()));
  Tensor solved({segments.all_heads() * segments.chunks, SolvedChunk<F>::kElements},
                DType::bfloat16, device);
  Tensor products({segments.total(), width, width}, DType::float32, device);
  Tensor totals({segments.all_heads(), width, width}, DType::float32, device);
  BFloat16* chunks = solved.mutable_data<BFloat16>();
  float* sums = products.mutable_data<float>();
  Launch("inverse_penalty solve again", device)(
      solve_again<T, width>, Grid{blocks, F::kThreads, PenaltyMemory<F>::kBytes}, in, segments,
      starts.data<float>(), upstream, chunks, out.x, sums, problem_note(device));
  add_up_segments(segments, width * width, sums, totals.mutable_data<float>(), true, device);
  Launch("inverse_penalty differentiate", device)(
      differentiate<T, width>, Grid{blocks, F::kThreads, PenaltyAdjointMemory<F>::kBytes}, in,
      segments, sums, chunks, out);
  sum_lambda0(in.n, {totals.data<float>(), width, width}, out.lambda0, device);
}

}  // namespace

template <class T>
void adjoint_on_tensor_cores(const TensorCorePenalty<T>& in, const Tensor& starts,
                             const T* upstream, const TensorCoreGradients<T>& out, Device device) {
  dispatch_width<T>(in.n.key,
                    [&](auto width) { run<T, width>(in, starts, upstream, out, device); });
}

template void adjoint_on_tensor_cores(const TensorCorePenalty<BFloat16>&, const Tensor&,
                                      const BFloat16*, const TensorCoreGradients<BFloat16>&,
                                      Device);
template void adjoint_on_tensor_cores(const TensorCorePenalty<float>&, const Tensor&, const float*,
                                      const TensorCoreGradients<float>&, Device);

}  // namespace vla::cuda
