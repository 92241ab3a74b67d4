#include "models/vla/symbolic_penalty.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "models/attention.hpp"
#include "models/carried.hpp"
#include "models/vla/symbolic_penalty_cuda.hpp"

namespace vla {
namespace {

// 1 / sqrt(N) for the rows of one sequence's relations (T, T).
template <class T>
std::vector<T> root_scales(const T* relations, Index time) {
  std::vector<T> scales(static_cast<std::size_t>(time));
  for (Index t = 0; t < time; ++t) {
    T sum = 0;
    for (Index j = 0; j < time; ++j) {
      const T relation = relations[t * time + j];
      check(relation >= 0, "symbolic penalty: the relation of token ", t, " to token ", j, " is ",
            relation, "; 0 or a finite number above it is needed");
      sum += relation;
    }
    check(std::isfinite(sum), "symbolic penalty: the relations of token ", t, " sum to ", sum,
          "; a finite number is needed");
    scales[static_cast<std::size_t>(t)] = 1 / std::sqrt(sum + T(1e-6));
  }
  return scales;
}

}  // namespace

void check_relations(const Tensor& relations, const Var& key) {
  const Index batch = key.size(0), time = key.size(1);
  check(relations.shape() == Shape({batch, time, time}), "symbolic penalty: relations ",
        relations.shape(), " are not (", batch, ", ", time, ", ", time, ")");
  check(relations.dtype() == state_dtype(key.dtype()), "symbolic penalty: relations are ",
        relations.dtype(), " and keys ", key.dtype(), "; the same is needed");
}

SymbolicDirection symbolic_direction(const Var& key, const Tensor& relations, double weight) {
  check_relations(relations, key);
  if (key.dtype() == DType::bfloat16)
    return symbolic_direction(cast(key, DType::float32), relations, weight);
  const Index batch = key.size(0), time = key.size(1);
  Tensor weights = zeros_like(relations);
  Tensor active = Tensor::zeros({batch, time}, DType::uint8, relations.device());
  const auto on_cpu = [&] {
    dispatch_floating(relations.dtype(), "symbolic penalty", [&](auto zero) {
      using T = decltype(zero);
      auto* is_active = active.mutable_data<std::uint8_t>();
      for (Index b = 0; b < batch; ++b) {
        const T* r = relations.data<T>() + b * time * time;
        T* w = weights.mutable_data<T>() + b * time * time;
        const std::vector<T> scales = root_scales(r, time);
        for (Index t = 0; t < time; ++t)
          for (Index j = 0; j <= t; ++j) {
            w[t * time + j] = r[t * time + j] * scales[static_cast<std::size_t>(t)] *
                              scales[static_cast<std::size_t>(j)];
            if (w[t * time + j] != 0) is_active[b * time + t] = 1;
          }
      }
    });
  };
  on_device("symbolic penalty", relations.device(), on_cpu,
            [&] { cuda::normalize_relations(relations, weights, active); });
  const Var sums = matmul(Var(weights), merge_heads(key));
  return {reshape(scale(sums, std::sqrt(weight)), key.shape().sizes()), active};
}

Tensor equal_tokens(const Tensor& tokens, DType dtype) {
  check(tokens.rank() == 2, "equal_tokens: tokens have shape ", tokens.shape(),
        "; (B, T) is needed");
  const Index batch = tokens.size(0), time = tokens.size(1);
  Tensor result = Tensor::zeros({batch, time, time}, dtype, tokens.device());
  const auto on_cpu = [&] {
    dispatch_floating(dtype, "equal_tokens", [&](auto zero) {
      auto* relation = result.mutable_data<decltype(zero)>();
      const Index* token = tokens.data<Index>();
      for (Index i = 0; i < batch * time; ++i)
        for (Index j = 0; j < time; ++j)
          if (token[i] == token[i / time * time + j]) relation[i * time + j] = 1;
    });
  };
  on_device("equal_tokens", tokens.device(), on_cpu,
            [&] { cuda::relate_equal_tokens(tokens, result); });
  return result;
}

}  // namespace vla
