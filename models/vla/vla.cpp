#include "models/vla/vla.hpp"

#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "models/carried.hpp"

namespace vla {
namespace {

VlaOptions resolved(VlaOptions options) {
  options.attention = options.attention.resolved();
  return options;
}

PenaltyBuilderOptions penalty_options(const VlaOptions& o) {
  return {.width = o.attention.width,
          .heads = o.attention.heads,
          .key_width = o.attention.key_width,
          .kind = o.penalty,
          .rank = o.rank,
          .forget = o.forget,
          .unit_floor = o.unit_floor,
          .lambda_floor = o.lambda_floor,
          .lambda_start = o.lambda_start,
          .linear = o.attention.linear()};
}

// For keys (B, T, H, d).
PenaltyState carried_penalty(const Var& key, const Carry& carry) {
  const Shape& keys = key.shape();
  const Device device = key.device();
  const Index batch = keys[0], heads = keys[2], d = keys[3];
  const Shape matrices{batch, heads, d, d};
  return {.penalty = carry.take("penalty", matrices, DType::float64, device),
          .inverse = carry.take_if_left("inverse", matrices, DType::float64, device),
          .kept = carry.take("kept", {batch, heads}, DType::float64, device),
          .tokens = carry.tokens()};
}

void leave(const PenaltyState& state, const Carry& carry) {
  carry.leave("penalty", state.penalty);
  if (state.inverse.defined()) carry.leave("inverse", state.inverse);
  carry.leave("kept", state.kept);
}

}  // namespace

Vla::Vla(const VlaOptions& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      beta_(options_.attention.width, options_.attention.heads, rng, options_.attention.linear()),
      penalty_(penalty_options(options_), rng),
      norm_(options_.attention.heads * options_.attention.value_width, options_.norm_epsilon,
            options_.attention.dtype) {}

Vla::Result Vla::run(const Var& x, const Carry& carry) {
  const auto unit_features = [&](const Var& y) {
    return unit(options_.feature_map == FeatureMap::identity ? y : elu_plus_one(y),
                options_.unit_floor);
  };
  const Var raw_key = projections_.key(x, carry.within("key")), k = unit_features(raw_key);
  const Var q = unit_features(projections_.query(x, carry.within("query")));
  const Var v = projections_.value(x, carry.within("value"));
  const Var beta = sigmoid(beta_(x));

  const Penalty penalty = penalty_(x, raw_key, k, beta);
  const InversePenaltyResult solved = inverse_penalty(k, penalty,
                                                      {.restore_period = options_.restore_period,
                                                       .form = options_.form,
                                                       .initial = carried_penalty(k, carry)});
  leave(solved.state, carry);
  const Var alpha = scale_heads(solved.output, beta);
  const DeltaRuleInputs inputs{.query = q, .key = k, .coefficient = alpha, .value = v};
  const DeltaRuleResult memory = carried_delta_rule(inputs, carry, {.form = options_.form});

  return {projections_.output(norm_(merge_heads(memory.output))),
          solved.state.penalty,
          memory.final_state.value(),
          {.memory = inputs, .penalty = penalty, .restore_period = options_.restore_period}};
}

Diagnostics Vla::diagnose(const Var& x, const Tensor&, const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  return vla::diagnose(run(x).inputs, options);
}

OperatorForm Vla::form(Index time) const { return resolved_form(options_.form, time); }

void Vla::visit(PartVisitor& parts) {
  projections_.visit(parts);
  parts("beta", beta_);
  parts("penalty", penalty_);
  parts("norm", norm_);
}

}  // namespace vla
