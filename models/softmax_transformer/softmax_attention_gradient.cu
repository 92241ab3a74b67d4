// The gradients of softmax attention; see softmax_attention.cuh.
//
// With w the weights and dw = do v^T, the gradient of the scores is ds = w (dw - do . o), and
//   dv = w^T do,   dk = ds^T q / sqrt(d),   dq = ds k / sqrt(d).
#include "models/softmax_transformer/softmax_attention.cuh"

namespace vla::cuda {
namespace {

using Sizes = SoftmaxAttentionSizes;

/// do . o of every query, (B, H, T), a team of 8 threads to each.
template <class T, int size>
__global__ void __launch_bounds__(kThreads)
    dots_kernel(const Sizes n, const T* o, const T* d_o, float* dots) {
  constexpr int team = 8;
  const Index row = thread_index() / team;  // of (B, T, H)
  const bool inside = row < n.batch * n.time * n.heads;
  float dot = 0;
  for (Index i = threadIdx.x % team * size; inside && i < n.value; i += team * size) {
    const Piece<T, size> a = read_piece<size>(o + row * n.value + i);
    const Piece<T, size> b = read_piece<size>(d_o + row * n.value + i);
#pragma unroll
    for (int j = 0; j < size; ++j) dot += float(a.elements[j]) * float(b.elements[j]);
  }
#pragma unroll
  for (int lane = team / 2; lane > 0; lane /= 2) dot += __shfl_xor_sync(0xFFFFFFFF, dot, lane);
  const Index h = row % n.heads, t = row / n.heads % n.time, b = row / n.heads / n.time;
  if (inside && threadIdx.x % team == 0) dots[(b * n.heads + h) * n.time + t] = dot;
}

template <class T>
struct GradientArrays {
  const T *q, *k, *v, *d_o;
  const float *log_sums, *dots;
  T *dq, *dk, *dv;
};

/// With `of_keys` the gradients of kRows keys and values, against all queries that see them:
/// everything is transposed, so that the weights, in the registers, are the left operand of the
/// next product. Otherwise those of kRows queries.
///
/// x: the keys or queries that stay, y: their values or do. z and w: the queries or keys that pass
/// by, and their do or values. So the scores are x z^T, their gradient has y w^T, dx = ds z and dy
/// = weights w.
template <class T, class P, bool of_keys>
__global__ void __launch_bounds__(P::kThreads)
    gradient_kernel(const Sizes n, const GradientArrays<T> in, const float scale,
                    const float shrink) {
  extern __shared__ __align__(16) unsigned char memory[];
  using Matrix = typename P::Matrix;
  const Matrix x = matrix_at<Matrix>(memory, 0, P::kRows);
  const Matrix y = matrix_at<Matrix>(memory, P::kStay, P::kRows);
  const auto z = [&](int stage) {
    return matrix_at<Matrix>(memory, 2 * P::kStay + stage * P::kPass, P::kColumns);
  };
  const auto w = [&](int stage) { return z(2 + stage); };
  float* const columns = reinterpret_cast<float*>(memory + 2 * P::kStay + 4 * P::kPass);

  const Index rows = of_keys ? n.keys : n.time, others = of_keys ? n.time : n.keys;
  const Index blocks = (rows + P::kRows - 1) / P::kRows, head = blockIdx.x / blocks;
  // The first keys and the last queries have the most to do: they begin first.
  const Index block = of_keys ? blockIdx.x % blocks : blocks - 1 - blockIdx.x % blocks;
  const Index first = block * P::kRows, before = n.keys - n.time;
  const float* const log_sums = in.log_sums + head * n.time;
  const float* const dots = in.dots + head * n.time;
  const auto head_of = [&](auto* data, bool keys, Index width) {
    return head_rows(data, head, keys ? n.keys : n.time, n.heads, width);
  };
  const HeadRows<const T> all_z = head_of(of_keys ? in.q : in.k, !of_keys, n.key);
  const HeadRows<const T> all_w = head_of(of_keys ? in.d_o : in.v, !of_keys, n.value);
  const auto begin_stage = [&](Index other, int stage) {
    begin_load<P::kColumns, P::kThreads>(all_z, other, z(stage));
    begin_load<P::kColumns, P::kThreads>(all_w, other, w(stage));
    if constexpr (of_keys)
      for_block<P::kColumns, P::kThreads>([&](int i) {
        const bool inside = other + i < n.time;
        float* const to = columns + 2 * stage * P::kColumns + i;
        begin_copy<4>(to, inside ? log_sums + other + i : log_sums, inside);
        begin_copy<4>(to + P::kColumns, inside ? dots + other + i : dots, inside);
      });
  };
  begin_load<P::kRows, P::kThreads>(head_of(of_keys ? in.k : in.q, of_keys, n.key), first, x);
  begin_load<P::kRows, P::kThreads>(head_of(of_keys ? in.v : in.d_o, of_keys, n.value), first, y);

  // The others that meet the block's rows, from the first key or query on; a tile of them begins at
  // a multiple of its size.
  const Index begin = of_keys ? max(Index(0), first - before) / P::kColumns * P::kColumns : 0;
  const Index end = of_keys ? others : min(others, before + first + P::kRows);
  const int row = threadIdx.x / kWarp * P::kRowsOfWarp;
  float row_log_sum[P::kStrips][2], row_dot[P::kStrips][2];
#pragma unroll
  for (int i = 0; i < P::kStrips; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Index query = first + row + kSide * i + tile_row(j);
      const bool read = !of_keys && query < n.time;
      row_log_sum[i][j] = read ? log_sums[query] : 0;
      row_dot[i][j] = read ? dots[query] : 0;
    }
  if (begin < end) begin_stage(begin, 0);

  Strip<P::kBlocks> dx[P::kStrips], dy[of_keys ? P::kStrips : 1];
#pragma unroll
  for (int i = 0; i < P::kStrips; ++i) {
    clear(dx[i]);
    if constexpr (of_keys) clear(dy[i]);
  }
  if constexpr (P::kHeld) {
    wait_for_copies();
    __syncthreads();
  }
  const RowsOfWarp<P::kHeld, P::kStrips, P::kParts, P::kWidth> x_rows(x, row), y_rows(y, row);
  int stage = 0;
  for (Index other = begin; other < end; other += P::kColumns, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // this stage is there for all, and all are done with the other
    if (other + P::kColumns < end) begin_stage(other + P::kColumns, stage ^ 1);
#pragma unroll 1
    for (int part = 0; part < P::kColumns; part += P::kAtOnce) {
      // How much later the first query is than the first key, of this warp and these columns.
      const int later = static_cast<int>(of_keys ? before + other + part - first - row
                                                 : before + first + row - other - part);
      constexpr int queries = of_keys ? P::kAtOnce : P::kRowsOfWarp;
      constexpr int keys = of_keys ? P::kRowsOfWarp : P::kAtOnce;
      if (later + queries <= 0) continue;  // no query sees any key
      Strip<P::kAtOnce / kSide> weights[P::kStrips], slopes[P::kStrips];
      multiply_rows(weights, x_rows, z(stage), part);
      multiply_rows(slopes, y_rows, w(stage), part);
      if (later < keys - 1)  // the first query does not see the last key
#pragma unroll
        for (int i = 0; i < P::kStrips; ++i)
          for_strip(weights[i], [&](int j, int column, float& score) {
            const int line = kSide * i + tile_row(j);
            if (of_keys ? column + later < line : line + later < column) score = -INFINITY;
          });
      const float* const log_sum = columns + 2 * stage * P::kColumns + part;
#pragma unroll
      for (int i = 0; i < P::kStrips; ++i)
        for_strip(weights[i], [&](int j, int column, float& weight) {
          weight = power_of_two(weight * scale - (of_keys ? log_sum[column] : row_log_sum[i][j]));
        });
      if constexpr (of_keys) add_products(dy, weights, w(stage), part);
#pragma unroll
      for (int i = 0; i < P::kStrips; ++i)
#pragma unroll
        for (int block = 0; block < P::kAtOnce / kSide; ++block)
#pragma unroll
          for (int c = 0; c < 2; ++c)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              const int column = kSide * block + tile_column(c) + j % 2;
              const float dot = of_keys ? log_sum[P::kColumns + column] : row_dot[i][j / 2];
              float& slope = slopes[i].tiles[block].values[c][j];
              slope = weights[i].tiles[block].values[c][j] * (slope - dot);
            }
      add_products(dx, slopes, z(stage), part);
    }
  }

  const float as_it_is[2] = {1, 1}, shrunk[2] = {shrink, shrink};
#pragma unroll
  for (int i = 0; i < P::kStrips; ++i) {
    const Index at = first + row + kSide * i;
    write(dx[i], shrunk, head_of(of_keys ? in.dk : in.dq, of_keys, n.key), at);
    if constexpr (of_keys) write(dy[i], as_it_is, head_of(in.dv, true, n.value), at);
  }
}

}  // namespace

void softmax_attention_gradient(const Sizes& n, const Tensor& q, const Tensor& k, const Tensor& v,
                                const Tensor& o, const Tensor& log_sums, const Tensor& d_o,
                                Tensor& dq, Tensor& dk, Tensor& dv) {
  Tensor dots = empty_like(log_sums);
  with_width(n, q.dtype(), [&](auto zero, auto width) {
    using T = decltype(zero);
    with_piece_size<T>(n.value, [&](auto size) {
      Launch("softmax_attention do . o", q.device())(
          dots_kernel<T, size>, grid_for(8 * n.batch * n.time * n.heads), n, o.data<T>(),
          d_o.data<T>(), dots.mutable_data<float>());
    });
    const GradientArrays<T> arrays{q.data<T>(),
                                   k.data<T>(),
                                   v.data<T>(),
                                   d_o.data<T>(),
                                   log_sums.data<float>(),
                                   dots.data<float>(),
                                   dq.mutable_data<T>(),
                                   dk.mutable_data<T>(),
                                   dv.mutable_data<T>()};
    const auto shrink = static_cast<float>(shrink_of(n));
    using OfKeys = GradientPlan<T, width, true>;
    Launch("softmax_attention dk dv", q.device())(
        gradient_kernel<T, OfKeys, true>, grid_of<OfKeys>(n, n.keys, gradient_bytes<OfKeys>()), n,
        arrays, scale_of(n), shrink);
    using OfQueries = GradientPlan<T, width, false>;
    Launch("softmax_attention dq", q.device())(
        gradient_kernel<T, OfQueries, false>,
        grid_of<OfQueries>(n, n.time, gradient_bytes<OfQueries>()), n, arrays, scale_of(n), shrink);
  });
}

}  // namespace vla::cuda
