#include "models/softmax_transformer/softmax_transformer.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"

namespace vla {

SoftmaxTransformer::SoftmaxTransformer(const AttentionOptions& options, Rng& rng)
    : options_(options.resolved()), projections_(options_, rng) {}

Var SoftmaxTransformer::advance(const Var& x, const Carry& carry) {
  const auto heads_first = [](const Var& y) { return permute(y, {0, 2, 1, 3}); };
  // Queries are scaled, not scores: T d numbers instead of T^2.
  const double shrink = 1 / std::sqrt(static_cast<double>(options_.key_width));
  const Var q = heads_first(scale(projections_.query(x, carry.within("query")), shrink));
  Var k = heads_first(projections_.key(x, carry.within("key")));
  Var v = heads_first(projections_.value(x, carry.within("value")));
  Var scores = causal_mask(matmul(q, k, {.transpose_b = true}));
  if (const Index before = carry.tokens(); before > 0) {
    const Var earlier_k(carry.take("keys", k.shape().with(2, before), k.dtype()));
    const Var earlier_v(carry.take("values", v.shape().with(2, before), v.dtype()));
    scores = concat({matmul(q, earlier_k, {.transpose_b = true}), scores}, -1);
    k = concat({earlier_k, k}, 2);
    v = concat({earlier_v, v}, 2);
  }
  carry.leave("keys", k.value());
  carry.leave("values", v.value());
  const Var weights = softmax(scores);
  return projections_.output(merge_heads(permute(matmul(weights, v), {0, 2, 1, 3})));
}

void SoftmaxTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
