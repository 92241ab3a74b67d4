#include "models/softmax_transformer/softmax_transformer.hpp"

#include "framework/ops/shaping.hpp"
#include "models/softmax_transformer/softmax_attention.hpp"

namespace vla {
namespace {

// x (B, T, H, .) after what is carried of earlier tokens; leaves all of it.
Var after_carried(const Var& x, const char* name, const Carry& carry) {
  Var all = x;
  if (const Index before = carry.tokens(); before > 0)
    all = concat({carry.take(name, x.shape().with(1, before), x.dtype(), x.device()), x}, 1);
  carry.leave(name, all.value());
  return all;
}

}  // namespace

SoftmaxTransformer::SoftmaxTransformer(const AttentionOptions& options, Rng& rng)
    : projections_(options, rng) {}

SoftmaxTransformer::Heads SoftmaxTransformer::heads_of(const Var& x, const Carry& carry) const {
  return {projections_.query(x, carry.within("query")),
          after_carried(projections_.key(x, carry.within("key")), "keys", carry),
          after_carried(projections_.value(x, carry.within("value")), "values", carry)};
}

Var SoftmaxTransformer::advance(const Var& x, const Carry& carry) {
  const Heads heads = heads_of(x, carry);
  return projections_.output(merge_heads(softmax_attention(heads.query, heads.key, heads.value)));
}

Diagnostics SoftmaxTransformer::diagnose(const Var& x, const Tensor&,
                                         const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  if (!options.maps) return {};
  const Heads heads = heads_of(x, {});
  const Tensor attention = permute(softmax_attention_weights(heads.query, heads.key), {0, 2, 1, 3})
                               .value()
                               .to(Device{})
                               .to(DType::float64);
  return {.attention = attention, .attention_entropy = attention_entropy(attention)};
}

void SoftmaxTransformer::visit(PartVisitor& parts) { projections_.visit(parts); }

}  // namespace vla
