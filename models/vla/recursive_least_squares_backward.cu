// The backward kernels of recursive least squares. With o_t = N_t A_t q_t everything that carries a
// gradient is a plain sum again: for dO the gradient of o, and per token
//
//   y_t = A_t q_t,   h_t = S_t^T dO_t,
//   D_s = sum over t >= s of dO_t y_t^T             (the gradient of N_s)
//   F_s = sum over t >= s of h_t y_t^T + y_t h_t^T  (minus that of M_s; A's adjoint)
//
// the gradients are dq = h and, with g_s = D_s^T v_s - F_s k_s,
//
//   dv_s = beta_s D_s k_s,  dk_s = beta_s g_s,  dbeta_s = (v_s . D_s k_s + k_s . g_s) / 2,
//   dlambda0 = - sum of h_t . y_t
//
//   apply_again     y and h of all chunks, as forward goes through them, with W and Z that it has
//                   kept; dq
//   upstream_sums   what each segment adds to sum of h y^T and to D, stacked
//   differentiate   dk, dv and dbeta, chunk by chunk from the last; F and D of the segments after
//                   each come from suffix sums
//
// D^T v and F k are large where a key is remembered well, and all but cancel: that is why y, h, D
// and F keep the parts of Format. With one part dk would be wrong by 1/lambda0 times 2^-8.
#include "models/vla/least_squares_adjoint.cuh"
#include "models/vla/least_squares_chunk.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {
namespace {

using Sizes = LeastSquaresSizes;

template <class T, int width>
__global__ void __launch_bounds__(Format<T, width>::kThreads, Format<T, width>::kAtOnce)
    apply_again(const Sizes n, const Segments segments, const T* q, const T* upstream,
                const float* starts, const BFloat16* solutions, BFloat16* solved_chunks,
                T* query_gradient) {
  using F = Format<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const FirstAdjointMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked state;
  read_rows(state, starts + segments.offset(blockIdx.x, width), rows.first_stacked<F>());
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    const ChunkPlace at(n, segment, chunk);
    const SolvedChunk<F> out(solved_chunks, segments, segment, chunk);
    const typename F::Solved solved = KeptSolution<F, const BFloat16>(solutions, n, at).get();
    __syncthreads();
    load_tokens(shared.q, q, at, n, n.key);
    load_tokens(shared.upstream, upstream, at, n, n.value);
    if (rows.of_values) store(state, shared.memory, rows.first());
    store(solved, either(rows.of_values, shared.z, shared.w), rows.first());
    if (chunk + 1 < segment.end) {
      const ChunkPlace next(n, segment, chunk + 1);
      KeptSolution<F, const BFloat16>(solutions, n, next).ask();
      prefetch_tokens(q, next, n, n.key);
      prefetch_tokens(upstream, next, n, n.value);
    }
    wait_for_copies();
    __syncthreads();
    causal_scores<F>(shared.q, shared.w, shared.scores);
    causal_scores<F>(shared.upstream, shared.z, shared.upstream_scores);
    __syncthreads();
    typename F::OfTokens result;
    if (!rows.of_values) {
      clear(result);
      add_times_transposed<F::kInner>(result, state, shared.q);
      add_scores<F, true>(result, solved, shared.scores);
    }
    advance_state<F>(state, solved, shared.w, rows);
    __syncthreads();  // W is done with
    if (!rows.of_values) store(result, shared.w, rows.first());
    __syncthreads();
    write_features<F>(shared.w, out.y);
    const auto outgoing = outgoing_at<T>(shared.q);
    if (!rows.of_values) {
      clear(result);
#pragma unroll
      for (int p = 0; p < F::kBlocks; ++p)
        add_outer(result, load_left<true>(shared.memory, kSide * p, rows.first()),
                  [&](int j) { return load_right<true>(shared.upstream, kSide * j, kSide * p); });
      add_scores<F>(result, solved, shared.upstream_scores);
      outgoing.put(result, rows.first());
    }
    __syncthreads();
    outgoing.write(query_gradient, at, n, n.key);
    if (!rows.of_values) store(result, shared.w, rows.first());
    __syncthreads();
    write_features<F>(shared.w, out.h);
  }
}

// What upstream_sums reads of a chunk; with two places the next chunk comes while one is used.
template <class F>
struct UpstreamBuffer {
  static constexpr int kFeatureBytes = F::Features::bytes(F::kWidth);
  static constexpr int kBuffers = F::kNarrow ? 2 : 1;
  static constexpr int kBytes = 2 * kFeatureBytes + F::Tokens::bytes(kTokens);
  static_assert(kBuffers * kBytes <= FirstAdjointMemory<F>::kBytes);  // so there is room
  typename F::Features y, h;
  typename F::Tokens gradient;

  __device__ UpstreamBuffer(unsigned char* memory, Index chunk)
      : y(split_at<typename F::Features>(memory += chunk % kBuffers * kBytes, F::kWidth)),
        h(split_at<typename F::Features>(memory + kFeatureBytes, F::kWidth)),
        gradient(split_at<typename F::Tokens>(memory + 2 * kFeatureBytes, kTokens)) {}
};

// [sum of h y^T; sum of dO y^T] of a segment.
template <class T, int width>
__global__ void __launch_bounds__(Format<T, width>::kThreads)
    upstream_sums(const Sizes n, const Segments segments, BFloat16* solved_chunks,
                  const T* upstream, float* sums) {
  using F = Format<T, width>;
  extern __shared__ __align__(16) unsigned char memory[];
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  typename F::Stacked sum;
  clear(sum);
  const auto load = [&](Index chunk) {
    const SolvedChunk<F> from(solved_chunks, segments, segment, chunk);
    const UpstreamBuffer<F> into(memory, chunk);
    load_features<F>(into.y, from.y);
    load_features<F>(into.h, from.h);
    load_tokens(into.gradient, upstream, ChunkPlace(n, segment, chunk), n, n.value);
  };
  for (Index chunk = segment.first; chunk < segment.end; ++chunk) {
    if (UpstreamBuffer<F>::kBuffers == 1 || chunk == segment.first) {
      __syncthreads();
      load(chunk);
    }
    wait_for_copies();
    __syncthreads();
    if (UpstreamBuffer<F>::kBuffers > 1 && chunk + 1 < segment.end) load(chunk + 1);
    const auto [y, h, gradient] = UpstreamBuffer<F>(memory, chunk);
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p) {
      const auto of_y = [&](int j) { return load_right<true>(y, kSide * j, kSide * p); };
      if (rows.of_values)
        add_outer(sum, load_left<true>(gradient, kSide * p, rows.first()), of_y);
      else
        add_outer(sum, load_left(h, rows.first(), kSide * p), of_y);
    }
  }
  write_rows(sum, sums + segments.offset(blockIdx.x, width), rows.first_stacked<F>());
}

template <class T, int width>
__global__ void __launch_bounds__(Format<T, width>::kThreads, Format<T, width>::kAtOnce)
    differentiate(const LeastSquaresArrays<T> in, const Segments segments, const float* sums,
                  BFloat16* solved_chunks, const T* upstream, const LeastSquaresGradients<T> out) {
  using F = Format<T, width>;
  constexpr int kInner = F::kInner;
  extern __shared__ __align__(16) unsigned char memory[];
  const LastAdjointMemory<F> shared(memory);
  const WarpRows rows = WarpRows::mine<F>();
  const SegmentPlace segment = segments.place(blockIdx.x);
  // [F; D] of the tokens after the chunk.
  typename F::Stacked state;
  const float* after = sums + segments.offset(blockIdx.x, width);
  read_rows(state, after, rows.first_stacked<F>());
  if (!rows.of_values)
#pragma unroll
    for (int j = 0; j < F::kBlocks; ++j)
      for_tile(state.tiles[j], [&](int row, int column, float& x) {
        x += after[Index(kSide * j + column) * width + rows.first() + row];
      });
  float weight = weight_of(in.beta, ChunkPlace(in.n, segment, segment.end - 1), in.n);
  for (Index chunk = segment.end - 1; chunk >= segment.first; --chunk) {
    const ChunkPlace at(in.n, segment, chunk);
    const SolvedChunk<F> from(solved_chunks, segments, segment, chunk);
    __syncthreads();
    load_tokens(shared.k, in.k, at, in.n, in.n.key);
    load_tokens(shared.v, in.v, at, in.n, in.n.value);
    load_tokens(shared.upstream, upstream, at, in.n, in.n.value);
    load_features<F>(shared.y, from.y);
    load_features<F>(shared.h, from.h);
    put_weights(shared.weight, weight);
    if (rows.of_values) store(state, shared.memory, rows.first());
    if (chunk > segment.first) {
      const ChunkPlace next(in.n, segment, chunk - 1);
      prefetch_tokens(in.k, next, in.n, in.n.key);
      prefetch_tokens(in.v, next, in.n, in.n.value);
      prefetch_tokens(upstream, next, in.n, in.n.value);
      weight = weight_of(in.beta, next, in.n);
      prefetch_features<F>(SolvedChunk<F>(solved_chunks, segments, segment, chunk - 1).y);
    }
    wait_for_copies();
    __syncthreads();
    // Rows of keys: g = D^T V - F K; rows of values: D K. First what later chunks give.
    typename F::OfTokens result;
    clear(result);
    add_times_transposed<kInner>(result, state, shared.k);
    if (!rows.of_values) {
#pragma unroll
      for (int j = 0; j < kTokenBlocks; ++j)
        for_tile(result.tiles[j], [](int, int, float& x) { x = -x; });
#pragma unroll
      for (int p = 0; p < F::kBlocks; ++p)
        add_outer(result, load_left<true>(shared.memory, kSide * p, rows.first()),
                  [&](int j) { return load_right<true>(shared.v, kSide * j, kSide * p); });
    }
    __syncthreads();
    // Then this chunk: scores (s, t) with t >= s.
    for_causal_blocks<F>([&](int t, int s) {
      const auto left_of = [&](const auto& x) {
        return [&x, s](int p) { return load_left(x, kSide * s, kSide * p); };
      };
      const auto right_of = [&](const auto& x) {
        return [&x, t](int p) { return load_right(x, kSide * p, kSide * t); };
      };
      const auto keep_upper = [&](Tile& tile) {
        if (s == t) for_tile(tile, [](int i, int j, float& x) { x = j >= i ? x : 0; });
      };
      Tile keys = block_product<F::kBlocks>(left_of(shared.k), right_of(shared.y));
      keep_upper(keys);
      store(keys, shared.key_scores, kSide * s, kSide * t);
      Tile values = block_product<F::kBlocks>(left_of(shared.v), [&](int p) {
        return load_right<true>(shared.upstream, kSide * t, kSide * p);
      });
      const Tile less = block_product<F::kBlocks>(left_of(shared.k), right_of(shared.h));
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) values.values[i][e] -= less.values[i][e];
      keep_upper(values);
      store(values, shared.value_scores, kSide * s, kSide * t);
    });
    __syncthreads();
#pragma unroll
    for (int p = 0; p < kTokenBlocks; ++p) {
      const auto of_keys = [&](int s) {
        return load_right<true>(shared.key_scores, kSide * s, kSide * p);
      };
      const auto of_values = [&](int s) {
        return load_right<true>(shared.value_scores, kSide * s, kSide * p);
      };
      const auto of_y = [&](int j) { return load_right<true>(shared.y, kSide * j, kSide * p); };
      const auto of_h = [&](int j) { return load_right<true>(shared.h, kSide * j, kSide * p); };
      if (rows.of_values) {
        const auto gradient = load_left<true>(shared.upstream, kSide * p, rows.first());
        add_outer(result, gradient, of_keys, 0, p + 1);
        add_outer(state, gradient, of_y);
      } else {
        const auto y = load_left(shared.y, rows.first(), kSide * p);
        const auto h = load_left(shared.h, rows.first(), kSide * p);
        add_outer(result, negative(h), of_keys, 0, p + 1);
        add_outer(result, y, of_values, 0, p + 1);
        add_outer(state, h, of_y);
        add_outer(state, y, of_h);
      }
    }
    add_up_products<F>(result, either(rows.of_values, shared.v, shared.k), rows,
                       rows.of_values ? shared.value_products : shared.key_products);
    scale_columns(result, shared.weight);
    const auto to_keys = outgoing_at<T>(shared.k), to_values = outgoing_at<T>(shared.v);
    outgoing_at<T>(either(rows.of_values, shared.v, shared.k)).put(result, rows.first());
    __syncthreads();
    to_keys.write(out.k, at, in.n, in.n.key);
    to_values.write(out.v, at, in.n, in.n.value);
    float* beta_gradient = at.vectors(out.beta, in.n, 1);
    for (int t = threadIdx.x; t < at.count; t += blockDim.x)
      beta_gradient[t * in.n.heads] = (shared.value_products[t] + shared.key_products[t]) / 2;
  }
}

template <class T, int width>
void run(const LeastSquaresArrays<T>& in, const LeastSquaresKept& kept, const T* upstream,
         const LeastSquaresGradients<T>& out, Device device) {
  using F = Format<T, width>;
  const Segments segments = segments_for(in.n, F::kAtOnce, device);
  const auto blocks = dim3(static_cast<unsigned>(segments.total()));
  Tensor solved({segments.all_heads() * segments.chunks, SolvedChunk<F>::kElements},
                DType::bfloat16, device);
  Tensor sums({segments.total(), 2 * width, width}, DType::float32, device);
  Tensor totals({segments.all_heads(), 2 * width, width}, DType::float32, device);
  BFloat16* chunks = solved.mutable_data<BFloat16>();
  Launch("least_squares apply again", device)(
      apply_again<T, width>, Grid{blocks, F::kThreads, FirstAdjointMemory<F>::kBytes}, in.n,
      segments, in.q, upstream, kept.starts.data<float>(), kept.solutions.data<BFloat16>(), chunks,
      out.q);
  Launch("least_squares upstream sums", device)(
      upstream_sums<T, width>,
      Grid{blocks, F::kThreads, UpstreamBuffer<F>::kBuffers * UpstreamBuffer<F>::kBytes}, in.n,
      segments, chunks, upstream, sums.mutable_data<float>());
  add_up_segments(segments, 2 * width * width, sums.mutable_data<float>(),
                  totals.mutable_data<float>(), true, device);
  Launch("least_squares differentiate", device)(
      differentiate<T, width>, Grid{blocks, F::kThreads, LastAdjointMemory<F>::kBytes}, in,
      segments, sums.data<float>(), chunks, upstream, out);
  sum_lambda0(in.n, {totals.data<float>(), 2 * width, width}, out.lambda0, device);
}

}  // namespace

template <class T>
void least_squares_adjoint(const LeastSquaresArrays<T>& in, const LeastSquaresKept& kept,
                           const T* output_gradient, const LeastSquaresGradients<T>& out,
                           Device device) {
  dispatch_width<T>(std::max(in.n.key, in.n.value),
                    [&](auto width) { run<T, width>(in, kept, output_gradient, out, device); });
}

template void least_squares_adjoint(const LeastSquaresArrays<BFloat16>&, const LeastSquaresKept&,
                                    const BFloat16*, const LeastSquaresGradients<BFloat16>&,
                                    Device);
template void least_squares_adjoint(const LeastSquaresArrays<float>&, const LeastSquaresKept&,
                                    const float*, const LeastSquaresGradients<float>&, Device);

}  // namespace vla::cuda
