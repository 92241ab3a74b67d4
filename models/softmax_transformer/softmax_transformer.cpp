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

Var SoftmaxTransformer::weights(const Var& x) const {
  // Queries are scaled, not scores: T d numbers instead of T^2.
  const double shrink = 1 / std::sqrt(static_cast<double>(options_.key_width));
  const Var q = swap_heads(scale(projections_.query(x), shrink));
  const Var k = swap_heads(projections_.key(x));
  return softmax(causal_mask(matmul(q, k, {.transpose_b = true})));
}

Var SoftmaxTransformer::operator()(const Var& x) {
  const Var attention = weights(x), v = swap_heads(projections_.value(x));
  return projections_.output(merge_heads(swap_heads(matmul(attention, v))));
}

Diagnostics SoftmaxTransformer::diagnose(const Var& x, const Tensor&,
                                         const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  if (!options.maps) return {};
  const Tensor attention = swap_heads(weights(x)).value().to(DType::float64);
  return {.attention = attention, .attention_entropy = attention_entropy(attention)};
}

void SoftmaxTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
