#include "framework/cuda/kernel.cuh"
#include "models/vla/symbolic_penalty_cuda.hpp"

namespace vla::cuda {
namespace {

// scales (B T) <- 1 / sqrt(sum of the relations of each token), a warp for each.
template <class T>
__global__ void scale_kernel(const T* relations, Index rows, Index time, T* scales,
                             ProblemNote* note) {
  for (Index row = thread_index() / kWarp; row < rows; row += thread_total() / kWarp) {
    T sum = 0;
    for (Index j = threadIdx.x % kWarp; j < time; j += kWarp) {
      const T relation = relations[row * time + j];
      if (!(relation >= 0) || !isfinite(relation)) {
        ProblemNote found;
        found.problem = Problem::relation;
        found.number = relation;
        found.sequence = row / time;
        found.time = row % time;
        report(note, found);
      }
      sum += relation;
    }
    sum = sum_of_team<kWarp>(sum);
    if (threadIdx.x % kWarp == 0) scales[row] = 1 / sqrt(sum + T(1e-6));
  }
}

template <class T>
__global__ void weight_kernel(const T* relations, const T* scales, Index rows, Index time,
                              T* weights, std::uint8_t* active) {
  for (Index i = thread_index(); i < rows * time; i += thread_total()) {
    const Index row = i / time, t = row % time, j = i % time;
    if (j > t) continue;
    const T weight = relations[i] * scales[row] * scales[row - t + j];
    weights[i] = weight;
    if (weight != 0) active[row] = 1;  // whoever writes it, it is 1
  }
}

template <class T>
__global__ void equal_kernel(const Index* tokens, Index rows, Index time, T* relations) {
  for (Index i = thread_index(); i < rows * time; i += thread_total()) {
    const Index row = i / time;
    relations[i] = tokens[row] == tokens[row - row % time + i % time] ? T(1) : T(0);
  }
}

}  // namespace

void normalize_relations(const Tensor& relations, Tensor& weights, Tensor& active) {
  const Device device = relations.device();
  const Index rows = relations.size(0) * relations.size(1), time = relations.size(1);
  const Launch launch("symbolic penalty", device);
  dispatch_floating(relations.dtype(), "symbolic penalty", [&](auto zero) {
    using T = decltype(zero);
    Tensor scales({rows}, relations.dtype(), device);
    launch(scale_kernel<T>, grid_for(rows * kWarp), relations.data<T>(), rows, time,
           scales.mutable_data<T>(), problem_note(device));
    launch(weight_kernel<T>, grid_for(rows * time, 1 << 16), relations.data<T>(), scales.data<T>(),
           rows, time, weights.mutable_data<T>(), active.mutable_data<std::uint8_t>());
  });
}

void relate_equal_tokens(const Tensor& tokens, Tensor& relations) {
  const Index rows = tokens.elements(), time = tokens.size(1);
  dispatch_floating(relations.dtype(), "equal_tokens", [&](auto zero) {
    using T = decltype(zero);
    Launch("equal_tokens", tokens.device())(equal_kernel<T>, grid_for(rows * time, 1 << 16),
                                            tokens.data<Index>(), rows, time,
                                            relations.mutable_data<T>());
  });
}

}  // namespace vla::cuda
