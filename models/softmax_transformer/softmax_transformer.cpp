#include "models/softmax_transformer/softmax_transformer.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"

namespace vla {
namespace {

// (B, T, H, .) to (B, H, T, .), and back.
Var swap_heads(const Var& y) { return permute(y, {0, 2, 1, 3}); }

}  // namespace

SoftmaxTransformer::SoftmaxTransformer(const AttentionOptions& options, Rng& rng)
    : options_(options.resolved()), projections_(options_, rng) {}

SoftmaxTransformer::Attention SoftmaxTransformer::attend(const Var& x, const Carry& carry) const {
  // Queries are scaled, not scores: T d numbers instead of T^2.
  const double shrink = 1 / std::sqrt(static_cast<double>(options_.key_width));
  const Var q = swap_heads(scale(projections_.query(x, carry.within("query")), shrink));
  Var k = swap_heads(projections_.key(x, carry.within("key")));
  Var v = swap_heads(projections_.value(x, carry.within("value")));
  Var scores = causal_mask(matmul(q, k, {.transpose_b = true}));
  if (const Index before = carry.tokens(); before > 0) {
    const Var earlier_k(carry.take("keys", k.shape().with(2, before), k.dtype(), x.device()));
    const Var earlier_v(carry.take("values", v.shape().with(2, before), v.dtype(), x.device()));
    scores = concat({matmul(q, earlier_k, {.transpose_b = true}), scores}, -1);
    k = concat({earlier_k, k}, 2);
    v = concat({earlier_v, v}, 2);
  }
  carry.leave("keys", k.value());
  carry.leave("values", v.value());
  return {softmax(scores), v};
}

Var SoftmaxTransformer::advance(const Var& x, const Carry& carry) {
  const Attention attention = attend(x, carry);
  return projections_.output(merge_heads(swap_heads(matmul(attention.weights, attention.values))));
}

Diagnostics SoftmaxTransformer::diagnose(const Var& x, const Tensor&,
                                         const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  if (!options.maps) return {};
  const Tensor attention =
      swap_heads(attend(x, {}).weights).value().to(Device{}).to(DType::float64);
  return {.attention = attention, .attention_entropy = attention_entropy(attention)};
}

void SoftmaxTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
