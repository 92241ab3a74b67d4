#include "models/delta_net/delta_net.hpp"

#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/rows.hpp"
#include "framework/ops/shaping.hpp"
#include "models/carried.hpp"

namespace vla {
namespace {

AttentionOptions without_convolution(AttentionOptions options) {
  options.convolution = 0;
  return options;
}

template <class Options>
Options resolved(Options options) {
  options.attention = options.attention.resolved();
  return options;
}

}  // namespace

DeltaNet::DeltaNet(const DeltaNetOptions& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      beta_(options_.rate_from_key ? options_.attention.heads * options_.attention.key_width
                                   : options_.attention.width,
            options_.attention.heads, rng, options_.attention.linear()) {
  if (options_.output_norm)
    norm_.emplace(options_.attention.heads * options_.attention.value_width, 1e-5,
                  options_.attention.dtype);
}

DeltaRuleInputs DeltaNet::memory_inputs(const Var& x, const Carry& carry) const {
  const Var k = unit(projections_.key(x, carry.within("key")), options_.unit_floor);
  const Var raw_q = projections_.query(x, carry.within("query"));
  const Var q = options_.unit_query ? unit(raw_q, options_.unit_floor) : raw_q;
  const Var beta = sigmoid(beta_(options_.rate_from_key ? merge_heads(k) : x));
  return {.query = q,
          .key = k,
          .coefficient = scale_heads(k, beta),
          .value = projections_.value(x, carry.within("value"))};
}

Var DeltaNet::advance(const Var& x, const Carry& carry) {
  const Var o = merge_heads(
      carried_delta_rule(memory_inputs(x, carry), carry, {.form = options_.form}).output);
  return projections_.output(norm_ ? (*norm_)(o) : o);
}

Diagnostics DeltaNet::diagnose(const Var& x, const Tensor&, const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  return vla::diagnose({.memory = memory_inputs(x, {})}, options);
}

void DeltaNet::visit(PartVisitor& parts) {
  projections_.visit(parts);
  parts("beta", beta_);
  parts("norm", norm_);
}

GatedDeltaNet::GatedDeltaNet(const GatedDeltaNetOptions& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      gate_(without_convolution(options_.attention), options_.attention.value_width, rng) {}

Var GatedDeltaNet::advance(const Var& x, const Carry& carry) {
  const Var k = unit(projections_.key(x, carry.within("key")), options_.unit_floor);
  const Var q = elu_plus_one(projections_.query(x, carry.within("query")));
  const Var v = projections_.value(x, carry.within("value"));
  const Var o = carried_delta_rule({.query = q,
                                    .key = k,
                                    .coefficient = k,
                                    .value = v,
                                    .gate = sigmoid(cast(gate_(x), accumulated_dtype(x.dtype())))},
                                   carry)
                    .output;
  return projections_.output(merge_heads(o));
}

void GatedDeltaNet::visit(PartVisitor& parts) {
  projections_.visit(parts);
  parts("gate", gate_);
}

}  // namespace vla
