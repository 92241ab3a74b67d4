#include "models/vla/vla.hpp"

#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "models/carried.hpp"
#include "models/vla/carried_penalty.hpp"
#include "models/vla/sequence_parallel.hpp"

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
          .forget_floor = o.forget_floor,
          .unit_floor = o.unit_floor,
          .lambda_floor = o.lambda_floor,
          .lambda_start = o.lambda_start,
          .learn_lambda0 = o.learn_lambda0,
          .linear = o.attention.linear()};
}

}  // namespace

Vla::Vla(const VlaOptions& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      beta_(options_.attention.width, options_.attention.heads, rng, options_.attention.linear()),
      penalty_(penalty_options(options_), rng),
      norm_(options_.attention.heads * options_.attention.value_width, options_.norm_epsilon,
            options_.attention.dtype) {}

Vla::Features Vla::features(const Var& x, const Carry& carry) const {
  const auto unit_features = [&](const Var& y) {
    return unit(options_.feature_map == FeatureMap::identity ? y : elu_plus_one(y),
                options_.unit_floor);
  };
  const Var raw_key = projections_.key(x, carry.within("key")), key = unit_features(raw_key);
  const Var weight = sigmoid(beta_(x));
  return {.query = unit_features(projections_.query(x, carry.within("query"))),
          .key = key,
          .value = projections_.value(x, carry.within("value")),
          .weight = weight,
          .penalty = penalty_(x, raw_key, key, weight)};
}

Var Vla::project(const Var& memory_output) const {
  return projections_.output(norm_(merge_heads(memory_output)));
}

Vla::Result Vla::by_two_operators(const Features& f, const Carry& carry) const {
  const InversePenaltyResult solved = inverse_penalty(f.key, f.penalty,
                                                      {.restore_period = options_.restore_period,
                                                       .form = options_.form,
                                                       .initial = carried_penalty(f.key, carry)});
  leave(solved.state, carry);
  const Var alpha = scale_heads(solved.output, f.weight);
  const DeltaRuleInputs inputs{
      .query = f.query, .key = f.key, .coefficient = alpha, .value = f.value};
  const DeltaRuleResult memory = carried_delta_rule(inputs, carry, {.form = options_.form});

  return {project(memory.output),
          solved.state.penalty,
          memory.final_state.value(),
          {.memory = inputs, .penalty = f.penalty, .restore_period = options_.restore_period}};
}

Var Vla::advance(const Var& x, const Carry& carry) {
  const Features f = features(x, carry);
  const LeastSquaresInputs inputs{.query = f.query,
                                  .key = f.key,
                                  .value = f.value,
                                  .weight = f.weight,
                                  .lambda0 = f.penalty.lambda0};
  const bool least_squares = options_.penalty == PenaltyKind::key && !options_.forget &&
                             options_.restore_period == 0 &&
                             options_.form == OperatorForm::automatic;
  if (carry.ranks()) {
    check(
        least_squares,
        "vla: sequences are split over ranks by exact VLA with its usual penalty alone: the key's, "
        "without forgetting and restorations, and with the operators' form left to them");
    return project(sequence_parallel_least_squares(inputs, *carry.ranks()));
  }
  if (least_squares && carry.streams() && has_least_squares_steps(inputs)) {
    const LeastSquaresSteps steps =
        least_squares_steps(inputs, carried_least_squares(inputs, carry));
    leave(steps.state, carry);
    return project(steps.output);
  }
  if (!least_squares || carry.tokens() != 0 || !has_fused_least_squares(inputs))
    return by_two_operators(f, carry).output;
  const LeastSquaresResult result = recursive_least_squares(inputs);
  if (carry.streams()) {
    Tensor kept({x.size(0), options_.attention.heads}, DType::float64, x.device());
    kept.fill(1);
    leave({.penalty = result.penalty, .kept = kept}, carry);
    carry.leave("memory", result.memory);
  }
  return project(result.output);
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
