#include "models/softmax_transformer/softmax_transformer.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"

namespace vla {

SoftmaxTransformer::SoftmaxTransformer(const AttentionOptions& options, Rng& rng)
    : options_(options.resolved()), projections_(options_, rng) {}

Var SoftmaxTransformer::operator()(const Var& x) {
  const auto heads_first = [](const Var& y) { return permute(y, {0, 2, 1, 3}); };
  // Queries are scaled, not scores: T d numbers instead of T^2.
  const double shrink = 1 / std::sqrt(static_cast<double>(options_.key_width));
  const Var q = heads_first(scale(projections_.query(x), shrink));
  const Var k = heads_first(projections_.key(x)), v = heads_first(projections_.value(x));
  const Var weights = softmax(causal_mask(matmul(q, k, {.transpose_b = true})));
  return projections_.output(merge_heads(permute(matmul(weights, v), {0, 2, 1, 3})));
}

void SoftmaxTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
