// Softmax attention in tiles: the scores of some queries and some keys at a time, in the registers
// of a warp, never all T^2 of them. Forward keeps for each query the largest score so far and sums
// relative to it; backward makes the weights anew from the logarithm of the sum.
// Source: Dao, "FlashAttention-2", 2023.
//
// Products are of one bfloat16 part for bfloat16 inputs: scores are exact but for the order of
// their sum, weights and their gradients are rounded to 2^-9 each before they are multiplied on.
// float32 inputs have three parts, whose products are as good as float32's; the tensor cores cut
// sums off where float32 rounds them, so that errors grow with T. Measured against float64 on an
// H100, largest relative RMS over the tests' widths and lengths up to 1000:
//
//               o        gradients   gradients at scores 50 times as large
//   bfloat16    2.4e-3   4.7e-3      7.3e-3
//   float32     2.5e-6   9.3e-6      1.1e-5
//
// Every sum is in one thread and one order: nothing depends on the order in which blocks run. That
// is why backward is two kernels, one with the gradients of a block's keys, one with those of its
// queries, at the price of making the weights twice.
#include "framework/cuda/panel.cuh"
#include "models/softmax_transformer/softmax_attention_cuda.hpp"

namespace vla::cuda {
namespace {

using Sizes = SoftmaxAttentionSizes;

constexpr int kMostWidth = 128;

/// How a block shares out its work. A warp has `strips` strips of 16 rows that stay, against
/// `columns` rows at a time that pass by, `at_once` of them in registers. With `held` the rows that
/// stay are in registers too, where they would otherwise be read from shared memory for each tile.
struct Shares {
  int warps, strips, columns, at_once;
  bool held;
};

// As measured on an H100 (8 to 12 choices for each kernel). Two strips halve what is read from
// shared memory, which is as busy as the tensor cores; where they or the rows held do not fit
// beside the sums into 255 registers, one of the two has to go. float32 has three parts of
// everything.
constexpr Shares forward_shares(bool bfloat16, int width) {
  if (!bfloat16) return {.warps = 4, .strips = 1, .columns = 16, .at_once = 16, .held = false};
  return {.warps = 4, .strips = 2, .columns = 64, .at_once = 64, .held = width <= 64};
}
constexpr Shares gradient_shares(bool bfloat16, int width, bool of_keys) {
  if (!bfloat16) return {.warps = 4, .strips = 1, .columns = 16, .at_once = 16, .held = false};
  if (width <= 64) return {.warps = 4, .strips = 2, .columns = 64, .at_once = 32, .held = !of_keys};
  if (of_keys) return {.warps = 8, .strips = 1, .columns = 64, .at_once = 16, .held = true};
  return {.warps = 4, .strips = 2, .columns = 32, .at_once = 32, .held = false};
}

/// The rows that pass by have two stages in shared memory: one is multiplied while the next
/// arrives.
template <class T, int width, Shares shares>
struct Plan {
  static constexpr int kParts = std::is_same_v<T, BFloat16> ? 1 : 3;
  static constexpr int kWidth = width, kBlocks = width / kSide;
  static constexpr int kStrips = shares.strips, kThreads = kWarp * shares.warps;
  static constexpr int kRowsOfWarp = kSide * kStrips, kRows = kRowsOfWarp * shares.warps;
  static constexpr int kColumns = shares.columns, kAtOnce = shares.at_once;
  static constexpr bool kHeld = shares.held;
  using Matrix = Split<kParts, width>;
  static constexpr int kStay = Matrix::bytes(kRows), kPass = Matrix::bytes(kColumns);
};
template <class T, int width>
using ForwardPlan = Plan<T, width, forward_shares(std::is_same_v<T, BFloat16>, width)>;
template <class T, int width, bool of_keys>
using GradientPlan = Plan<T, width, gradient_shares(std::is_same_v<T, BFloat16>, width, of_keys)>;

template <class P>
constexpr std::size_t forward_bytes() {
  return P::kStay + 4 * P::kPass;
}
template <class P>
constexpr std::size_t gradient_bytes() {
  return 2 * P::kStay + 4 * P::kPass + 4 * P::kColumns * sizeof(float);
}

/// A matrix in the block's shared memory, `offset` bytes from its beginning.
template <class Matrix>
__device__ Matrix matrix_at(unsigned char* memory, int offset, int rows) {
  return {reinterpret_cast<BFloat16*>(memory + offset), Matrix::part_elements(rows)};
}

/// 2^x to 2^-22 of its value; numbers too small to be normal are 0.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// `value` combined over the four threads that share a row of a tile.
template <class Combine>
__device__ float combine_row(float value, Combine combine) {
  value = combine(value, __shfl_xor_sync(0xFFFFFFFF, value, 1));
  return combine(value, __shfl_xor_sync(0xFFFFFFFF, value, 2));
}

/// Calls work(row, column, value) for this thread's elements; `row` is 0 or 1, for tile_row(row).
template <int n, class Work>
__device__ void for_strip(Strip<n>& strip, Work work) {
#pragma unroll
  for (int block = 0; block < n; ++block)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        work(j / 2, kSide * block + tile_column(i) + j % 2, strip.tiles[block].values[i][j]);
}

// --- Forward ------------------------------------------------------------------------------------

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

// --- Gradient -----------------------------------------------------------------------------------
//
// With w the weights and dw = do v^T, the gradient of the scores is ds = w (dw - do . o), and
//   dv = w^T do,   dk = ds^T q / sqrt(d),   dq = ds k / sqrt(d).

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

// --- Launches -----------------------------------------------------------------------------------

/// Calls function(T{}, std::integral_constant<int, width>{}) with the least width that kernels have
/// and that holds keys and values.
template <class Function>
void with_width(const Sizes& n, DType dtype, Function&& function) {
  const Index width = std::max(n.key, n.value);
  const auto of_type = [&](auto zero) {
    if (width <= 16)
      function(zero, std::integral_constant<int, 16>());
    else if (width <= 32)
      function(zero, std::integral_constant<int, 32>());
    else if (width <= 64)
      function(zero, std::integral_constant<int, 64>());
    else
      function(zero, std::integral_constant<int, kMostWidth>());
  };
  if (dtype == DType::bfloat16)
    of_type(BFloat16{});
  else
    of_type(float{});
}

template <class P>
Grid grid_of(const Sizes& n, Index rows, std::size_t bytes) {
  const Index blocks = n.batch * n.heads * ((rows + P::kRows - 1) / P::kRows);
  return {dim3(static_cast<unsigned>(blocks)), dim3(P::kThreads), bytes};
}

double shrink_of(const Sizes& n) { return 1 / std::sqrt(static_cast<double>(n.key)); }
/// Powers are of 2: scores are multiplied by the logarithm of e too.
float scale_of(const Sizes& n) { return static_cast<float>(shrink_of(n) * 1.4426950408889634); }

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
