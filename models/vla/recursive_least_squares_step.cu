// A few tokens of recursive least squares at the speed of memory: what a head needs is read once,
// kept in registers, and written once.

#include "models/operator_form.hpp"
#include "models/vla/packed_penalty.cuh"
#include "models/vla/recursive_least_squares_step_cuda.hpp"

namespace vla::cuda {
namespace {

constexpr int kFew = static_cast<int>(kFewTokens);  // of one launch

// The tokens of one head, in shared memory, and what the penalty makes of them.
template <int width>
struct StepTokens {
  alignas(16) float k[kFew][width], q[kFew][width], v[kFew][width];
  alignas(16) float z[kFew][width];  // A k, A from before the token
  float beta[kFew];
  float gain[kFew];   // alpha = gain z
  float reach[kFew];  // alpha . q
  // Partial sums for z.
  alignas(16) float by_columns[Share<width>::kWarps][width];
  float by_rows[width];
};

template <class T, class Weight, int width>
__device__ void load_tokens(const StepInputs<T, Weight>& in, Index b, Index h, Index first,
                            int count, StepTokens<width>& tokens) {
  const LeastSquaresSizes& n = in.n;
  for (int i = static_cast<int>(threadIdx.x); i < count * width; i += kThreads) {
    const int t = i / width, j = i % width;
    const Index place = (b * n.time + first + t) * n.heads + h;
    tokens.k[t][j] = j < n.key ? float(in.k[place * n.key + j]) : 0;
    tokens.q[t][j] = j < n.key ? float(in.q[place * n.key + j]) : 0;
    tokens.v[t][j] = j < n.value ? float(in.v[place * n.value + j]) : 0;
    if (j == 0) tokens.beta[t] = float(in.beta[place]);
  }
}

// A, and what M has gained, of a head in registers, as PackedPenalty has them.
template <int width>
struct StepPenalty {
  using S = Share<width>;
  Four rows[S::kPasses];
  float diagonal = 0;  // of row threadIdx.x

  __device__ void read(const S& share, const float* matrix, const float* of_m, int d) {
    read_rows(rows, share, matrix, 0, d, d);
    if (threadIdx.x < d) diagonal = of_m[threadIdx.x];
  }
  __device__ void write(const S& share, float* matrix, float* of_m, int d) const {
    write_rows(rows, share, matrix, 0, d, d);
    if (threadIdx.x < d) of_m[threadIdx.x] = diagonal;
  }

  // z = A k. An element below the diagonal stands for two: one sum goes along its row and one along
  // its column.
  __device__ void multiply(const S& share, StepTokens<width>& tokens, int t) const {
    const Four k = read_four(tokens.k[t] + share.first_column);
    Four of_columns;
#pragma unroll
    for (int pass = 0; pass < S::kPasses; ++pass) {
      const int row = share.row(pass);
      const float of_row = tokens.k[t][row];
      float sum = 0;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = share.first_column + e;
        const float a = rows[pass].x[e];
        sum += column <= row ? a * k.x[e] : 0;
        of_columns.x[e] += column < row ? a * of_row : 0;
      }
      sum = share.sum_of_row(sum);
      if (share.lane == 0) tokens.by_rows[row] = sum;
    }
#pragma unroll
    for (int distance = S::kLanes; distance < kWarp; distance *= 2)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        of_columns.x[e] += __shfl_xor_sync(0xFFFFFFFF, of_columns.x[e], distance);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    if (threadIdx.x % kWarp < S::kLanes)
      write_four(of_columns, tokens.by_columns[warp] + share.first_column);
    __syncthreads();
    if (threadIdx.x < width) {
      float z = tokens.by_rows[threadIdx.x];
#pragma unroll
      for (int i = 0; i < S::kWarps; ++i) z += tokens.by_columns[i][threadIdx.x];
      tokens.z[t][threadIdx.x] = z;
    }
    __syncthreads();
  }

  // Takes in token t; false if the penalty is no longer positive definite.
  __device__ bool add(const S& share, StepTokens<width>& tokens, int t) {
    multiply(share, tokens, t);
    const Four k = read_four(tokens.k[t] + share.first_column);
    const Four z = read_four(tokens.z[t] + share.first_column);
    const float beta = tokens.beta[t];
    const float delta = 1 + beta * share.sum_of_row(dot(k, z)), gain = beta / delta;
    const float along = share.sum_of_row(dot(read_four(tokens.q[t] + share.first_column), z));
    if (threadIdx.x == 0) {
      tokens.gain[t] = gain;
      tokens.reach[t] = gain * along;
    }
#pragma unroll
    for (int pass = 0; pass < S::kPasses; ++pass) {
      const int row = share.row(pass);
      const float of_a = -gain * tokens.z[t][row], of_m = beta * tokens.k[t][row];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool in_a = share.first_column + e <= row;
        rows[pass].x[e] += (in_a ? of_a : of_m) * (in_a ? z.x[e] : k.x[e]);
      }
    }
    if (threadIdx.x < width) {
      const float own = tokens.k[t][threadIdx.x];
      diagonal += beta * own * own;
    }
    return delta > 0 && isfinite(delta);
  }
};

// Some rows of S in registers.
template <int width>
struct StepMemory {
  using S = Share<width>;
  static constexpr int kPasses = S::kPasses < 4 ? S::kPasses : 4;
  static constexpr int kGroups = S::kPasses / kPasses;  // in which the whole of S is taken
  static constexpr int kGroupRows = kPasses * S::kRows;
  Four rows[kPasses];

  __device__ void read(const S& share, int group, const float* memory, const LeastSquaresSizes& n) {
    if (memory) read_rows(rows, share, memory, group * kGroupRows, n.value, n.key);
  }
  __device__ void write(const S& share, int group, float* memory,
                        const LeastSquaresSizes& n) const {
    write_rows(rows, share, memory, group * kGroupRows, n.value, n.key);
  }
  // S <- S + e alpha^T, and o = S q to `output`, d_v numbers.
  template <class T>
  __device__ void add(const S& share, int group, const StepTokens<width>& tokens, int t, T* output,
                      int values) {
    const Four k = read_four(tokens.k[t] + share.first_column);
    const Four q = read_four(tokens.q[t] + share.first_column);
    const Four z = read_four(tokens.z[t] + share.first_column);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int i = group * kGroupRows + share.row(pass);
      const float error = tokens.v[t][i] - share.sum_of_row(dot(rows[pass], k));
      const float before = share.sum_of_row(dot(rows[pass], q));
      if (share.lane == 0 && i < values) output[i] = T(before + error * tokens.reach[t]);
      const float change = error * tokens.gain[t];
#pragma unroll
      for (int e = 0; e < 4; ++e) rows[pass].x[e] += change * z.x[e];
    }
  }
};

// Takes the state over `count` tokens from `first` on. `before` may be `after`: a thread reads and
// writes the same elements.
template <class T, class Weight, int width>
__global__ void __launch_bounds__(kThreads, width <= 64 ? 4 : 2)
    step(const StepInputs<T, Weight> in, const StepState<const float> before,
         const StepState<float> after, T* o, Index first, int count, ProblemNote* note) {
  using Memory = StepMemory<width>;
  const LeastSquaresSizes& n = in.n;
  const Share<width> share;
  const Index head = blockIdx.x, b = head / n.heads, h = head % n.heads;
  const Index square = Index(n.key) * n.key, area = Index(n.value) * n.key;
  const PenaltyPlace place{note, b, h};
  __shared__ StepTokens<width> tokens;
  StepPenalty<width> penalty;
  Memory memory;
  // All reads are begun before one is waited for.
  const float* old_memory = before.memory ? before.memory + head * area : nullptr;
  penalty.read(share, before.packed.matrix + head * square, before.packed.diagonal + head * n.key,
               n.key);
  memory.read(share, 0, old_memory, n);
  load_tokens(in, b, h, first, count, tokens);
  __syncthreads();
  for (int t = 0; t < count; ++t) {
    const bool definite = penalty.add(share, tokens, t);
    if (threadIdx.x != 0) continue;
    if (!(tokens.beta[t] >= 0)) place.found(Problem::penalty_weight, first + t, tokens.beta[t]);
    if (!definite) place.found(Problem::penalty_not_definite, first + t);
  }
  penalty.write(share, after.packed.matrix + head * square, after.packed.diagonal + head * n.key,
                n.key);
  __syncthreads();
#pragma unroll
  for (int group = 0; group < Memory::kGroups; ++group) {
    Memory next;
    if (group + 1 < Memory::kGroups) next.read(share, group + 1, old_memory, n);
    for (int t = 0; t < count; ++t)
      memory.add(share, group, tokens, t, o + ((b * n.time + first + t) * n.heads + h) * n.value,
                 n.value);
    memory.write(share, group, after.memory + head * area, n);
    if (group + 1 < Memory::kGroups) memory = next;
  }
}

}  // namespace

template <class T, class Weight>
void least_squares_steps(const StepInputs<T, Weight>& in, Index first, Index end,
                         const StepState<const float>& before, const StepState<float>& after, T* o,
                         Device device) {
  if (first == end) return;
  const LeastSquaresSizes& n = in.n;
  dispatch_share(std::max(n.key, n.value), [&](auto width) {
    Launch("least_squares_steps", device)(
        step<T, Weight, width>, Grid{dim3(static_cast<unsigned>(n.all_heads()))}, in, before, after,
        o, first, end - first, problem_note(device));
  });
}

template void least_squares_steps(const StepInputs<BFloat16, BFloat16>&, Index, Index,
                                  const StepState<const float>&, const StepState<float>&, BFloat16*,
                                  Device);
template void least_squares_steps(const StepInputs<BFloat16, float>&, Index, Index,
                                  const StepState<const float>&, const StepState<float>&, BFloat16*,
                                  Device);
template void least_squares_steps(const StepInputs<float, float>&, Index, Index,
                                  const StepState<const float>&, const StepState<float>&, float*,
                                  Device);

}  // namespace vla::cuda
