// Softmax attention forward, and whether there are kernels for it; see softmax_attention.cuh.
#include "models/softmax_transformer/softmax_attention.cuh"

namespace vla::cuda {
namespace {

using Sizes = SoftmaxAttentionSizes;

/// The softmax of a warp's queries so far: sums of 2^(score - shift), in this thread the part that
/// is in its columns.
///
/// A shift need not be the largest score. It follows only when a score is 2^kSlack times as large:
/// mostly there is nothing to do, and no digit is lost, as weights are floating-point numbers.
template <int strips>
struct RunningSoftmax {
  static constexpr float kSlack = 8;
  float shift[strips][2], sum[strips][2];

  __device__ RunningSoftmax() {
#pragma unroll
    for (int i = 0; i < strips; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) shift[i][j] = -INFINITY, sum[i][j] = 0;
  }

  /// Turns scores into weights; `outputs`, sums of weighted values, follow the shift.
  template <int n, int blocks>
  __device__ void add(Strip<n> (&scores)[strips], float scale, Strip<blocks> (&outputs)[strips]) {
    float largest[strips][2];
    bool follow = false;
#pragma unroll
    for (int i = 0; i < strips; ++i) {
      largest[i][0] = largest[i][1] = -INFINITY;
      for_strip(scores[i],
                [&](int j, int, float score) { largest[i][j] = fmaxf(largest[i][j], score); });
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        largest[i][j] =
            scale * combine_row(largest[i][j], [](float a, float b) { return fmaxf(a, b); });
        follow = follow || largest[i][j] > shift[i][j] + kSlack;
      }
    }
    if (__any_sync(0xFFFFFFFF, follow)) {
#pragma unroll
      for (int i = 0; i < strips; ++i) {
        float factors[2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float before = shift[i][j];
          shift[i][j] = fmaxf(before, largest[i][j]);
          factors[j] = power_of_two(before - shift[i][j]);
          sum[i][j] *= factors[j];
        }
        for_strip(outputs[i], [&](int j, int, float& output) { output *= factors[j]; });
      }
    }
#pragma unroll
    for (int i = 0; i < strips; ++i)
      for_strip(scores[i], [&](int j, int, float& score) {
        score = power_of_two(score * scale - shift[i][j]);
        sum[i][j] += score;
      });
  }
};

template <class T, class P>
__global__ void __launch_bounds__(P::kThreads)
    forward_kernel(const Sizes n, const T* q, const T* k, const T* v, T* o, float* log_sums,
                   const float scale) {
  extern __shared__ __align__(16) unsigned char memory[];
  static_assert(P::kAtOnce == P::kColumns);
  using Matrix = typename P::Matrix;
  const Matrix queries = matrix_at<Matrix>(memory, 0, P::kRows);
  const auto keys = [&](int stage) {
    return matrix_at<Matrix>(memory, P::kStay + stage * P::kPass, P::kColumns);
  };
  const auto values = [&](int stage) { return keys(2 + stage); };

  // The last queries of a head have the most keys: they begin first.
  const Index blocks = (n.time + P::kRows - 1) / P::kRows, head = blockIdx.x / blocks;
  const Index first = (blocks - 1 - blockIdx.x % blocks) * P::kRows, before = n.keys - n.time;
  const HeadRows<const T> all_keys = head_rows(k, head, n.keys, n.heads, n.key);
  const HeadRows<const T> all_values = head_rows(v, head, n.keys, n.heads, n.value);
  const auto begin_stage = [&](Index key, int stage) {
    begin_load<P::kColumns, P::kThreads>(all_keys, key, keys(stage));
    begin_load<P::kColumns, P::kThreads>(all_values, key, values(stage));
  };
  begin_load<P::kRows, P::kThreads>(head_rows(q, head, n.time, n.heads, n.key), first, queries);
  begin_stage(0, 0);

  const int row = threadIdx.x / kWarp * P::kRowsOfWarp;
  const Index position = before + first + row;  // of the warp's first query among the keys
  const Index end = min(n.keys, before + first + P::kRows);
  if constexpr (P::kHeld) {
    wait_for_copies();
    __syncthreads();
  }
  const RowsOfWarp<P::kHeld, P::kStrips, P::kParts, P::kWidth> rows(queries, row);
  Strip<P::kBlocks> outputs[P::kStrips];
#pragma unroll
  for (int i = 0; i < P::kStrips; ++i) clear(outputs[i]);
  RunningSoftmax<P::kStrips> softmax;
  int stage = 0;
  for (Index key = 0; key < end; key += P::kColumns, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // this stage is there for all, and all are done with the other
    if (key + P::kColumns < end) begin_stage(key + P::kColumns, stage ^ 1);
    if (key >= position + P::kRowsOfWarp) continue;  // later than all queries of the warp
    Strip<P::kColumns / kSide> scores[P::kStrips];
    multiply_rows(scores, rows, keys(stage), 0);
    if (key + P::kColumns > position + 1)
#pragma unroll
      for (int i = 0; i < P::kStrips; ++i) {
        const int last = static_cast<int>(position - key) + kSide * i;  // key of the first query
        for_strip(scores[i], [&](int j, int column, float& score) {
          if (column > last + tile_row(j)) score = -INFINITY;
        });
      }
    softmax.add(scores, scale, outputs);
    add_products(outputs, scores, values(stage), 0);
  }

#pragma unroll
  for (int i = 0; i < P::kStrips; ++i) {
    float factors[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float sum = combine_row(softmax.sum[i][j], Sum());
      const Index query = first + row + kSide * i + tile_row(j);
      factors[j] = 1 / sum;
      if (threadIdx.x % 4 == 0 && query < n.time)
        log_sums[head * n.time + query] = softmax.shift[i][j] + log2f(sum);
    }
    write(outputs[i], factors, head_rows(o, head, n.time, n.heads, n.value),
          first + row + kSide * i);
  }
}

}  // namespace

bool has_softmax_attention(const Sizes& n, DType dtype, Device device) {
  if (dtype != DType::bfloat16 && dtype != DType::float32) return false;
  if (n.key < 1 || n.value < 1 || std::max(n.key, n.value) > kMostWidth) return false;
  bool fits = false;
  with_width(n, dtype, [&](auto zero, auto width) {
    using T = decltype(zero);
    const std::size_t most = std::max({forward_bytes<ForwardPlan<T, width>>(),
                                       gradient_bytes<GradientPlan<T, width, true>>(),
                                       gradient_bytes<GradientPlan<T, width, false>>()});
    fits = most <= properties(device).shared_bytes;
  });
  return fits;
}

void softmax_attention(const Sizes& n, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& o,
                       Tensor& log_sums) {
  with_width(n, q.dtype(), [&](auto zero, auto width) {
    using T = decltype(zero);
    using P = ForwardPlan<T, width>;
    Launch("softmax_attention", q.device())(
        forward_kernel<T, P>, grid_of<P>(n, n.time, forward_bytes<P>()), n, q.data<T>(),
        k.data<T>(), v.data<T>(), o.mutable_data<T>(), log_sums.mutable_data<float>(), scale_of(n));
  });
}

}  // namespace vla::cuda
