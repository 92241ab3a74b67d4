#include "models/softmax_transformer/softmax_attention.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "models/softmax_transformer/softmax_attention_cuda.hpp"

namespace vla {
namespace {

constexpr auto kName = "softmax_attention";

SoftmaxAttentionSizes checked_sizes(const Tensor& q, const Tensor& k) {
  check_inputs(kName, {&q, &k});
  check(q.rank() == 4, kName, ": query has shape ", q.shape(), "; (B, T, H, d) is needed");
  check(k.rank() == 4 && k.shape().with(1, q.size(1)) == q.shape(), kName, ": key ", k.shape(),
        " does not fit query ", q.shape(), "; (B, T_k, H, d) is needed");
  check(k.size(1) >= q.size(1), kName, ": ", q.size(1), " queries are of more tokens than the ",
        k.size(1), " keys");
  return {q.size(0), q.size(2), q.size(1), k.size(1), q.size(3), 0};
}

SoftmaxAttentionSizes checked_sizes(const Tensor& q, const Tensor& k, const Tensor& v) {
  SoftmaxAttentionSizes n = checked_sizes(q, k);
  check_inputs(kName, {&q, &v});
  check(v.rank() == 4 && v.shape().without(3) == k.shape().without(3), kName, ": value ", v.shape(),
        " does not fit key ", k.shape(), "; (B, T_k, H, d_v) is needed");
  n.value = v.size(3);
  return n;
}

// (B, T, H, .) to (B, H, T, .), and back.
Var swap_heads(const Var& x) { return permute(x, {0, 2, 1, 3}); }

Var fused(const SoftmaxAttentionSizes& n, const Var& query, const Var& key, const Var& value,
          CallSite site) {
  const Tensor &q = query.value(), &k = key.value(), &v = value.value();
  Tensor o(q.shape().with(3, n.value), q.dtype(), q.device());
  Tensor log_sums({n.batch, n.heads, n.time}, DType::float32, q.device());
  // The caller has seen that the device is CUDA; elsewhere there is nothing to link.
  if constexpr (kCudaBuild) cuda::softmax_attention(n, q, k, v, o, log_sums);
  return record(
      kName, o, {query, key, value}, {q, k, v, o, log_sums},
      [n](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &q = at.saved(0), &k = at.saved(1), &v = at.saved(2);
        Tensor dq = empty_like(q), dk = empty_like(k), dv = empty_like(v);
        if constexpr (kCudaBuild)
          cuda::softmax_attention_gradient(n, q, k, v, at.saved(3), at.saved(4), at.gradient(), dq,
                                           dk, dv);
        return {dq, dk, dv};
      },
      site);
}

}  // namespace

Var softmax_attention(const Var& query, const Var& key, const Var& value, CallSite site) {
  const SoftmaxAttentionSizes n = checked_sizes(query.value(), key.value(), value.value());
  const bool is_fused = on_device(
      kName, query.device(), [] { return false; },
      [&] { return cuda::has_softmax_attention(n, query.dtype(), query.device()); });
  if (is_fused) return fused(n, query, key, value, site);
  return composed_softmax_attention(query, key, value);
}

Var softmax_attention_weights(const Var& query, const Var& key) {
  const SoftmaxAttentionSizes n = checked_sizes(query.value(), key.value());
  // Queries are scaled, not scores: T d numbers instead of T T_k.
  const double shrink = 1 / std::sqrt(static_cast<double>(n.key));
  Var scores = matmul(swap_heads(scale(query, shrink)), swap_heads(key), {.transpose_b = true});
  if (const Index before = n.keys - n.time; before > 0)
    scores =
        concat({slice(scores, -1, 0, before), causal_mask(slice(scores, -1, before, n.keys))}, -1);
  else
    scores = causal_mask(scores);
  return softmax(scores);
}

Var composed_softmax_attention(const Var& query, const Var& key, const Var& value) {
  checked_sizes(query.value(), key.value(), value.value());
  return swap_heads(matmul(softmax_attention_weights(query, key), swap_heads(value)));
}

}  // namespace vla
