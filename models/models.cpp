#include "models/models.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace vla {
namespace {

constexpr std::array kKinds{
    ModelKind{"vla", "exact Variational Linear Attention: least squares solved at every token"},
    ModelKind{"vla-v1",
              "VLA as first documented, with its stabilisers; that layer itself: --heads 1 "
              "--convolution 0"},
    ModelKind{
        "vla-v3",
        "VLA as the public reference's notebook trains it; that layer itself: --convolution 0"},
    ModelKind{"deltanet", "DeltaNet: linear memory with the delta rule"},
    ModelKind{"linear", "linear transformer: linear attention with elu + 1 features"},
    ModelKind{"softmax", "causal softmax attention"},
};

std::string names() {
  std::string result;
  for (const ModelKind& kind : kKinds)
    result += (result.empty() ? "" : ", ") + std::string(kind.name);
  return result;
}

// Which settings beside the attention's a mixer has.
struct Settings {
  bool exact = false, rank = false, lambda0 = false, nudge = false, version1 = false, form = true;
};

Settings settings_of(std::string_view kind) {
  if (kind == "vla") return {.exact = true, .rank = true, .lambda0 = true};
  if (kind == "vla-v1") return {.rank = true, .lambda0 = true, .nudge = true, .version1 = true};
  if (kind == "vla-v3") return {.rank = true, .lambda0 = true, .nudge = true};
  const bool known =
      std::ranges::any_of(kKinds, [&](const ModelKind& other) { return other.name == kind; });
  check(known, "unknown model '", kind, "'; allowed: ", names());
  return {.form = kind != "softmax"};
}

void check_settings_fit(std::string_view kind, const MixerConfig& config) {
  const MixerConfig plain;
  const Settings has = settings_of(kind);
  const auto refuse = [&](bool has_it, bool is_default, const char* setting) {
    check(has_it || is_default, "model '", kind, "' has no setting ", setting);
  };
  refuse(has.exact, config.penalty == plain.penalty, "--penalty");
  refuse(has.exact, config.features == plain.features, "--features");
  refuse(has.exact, config.learn_lambda0 == plain.learn_lambda0, "--no-learn-lambda0");
  refuse(has.exact, config.forget == plain.forget, "--forget");
  refuse(has.exact, config.restore_period == plain.restore_period, "--restore-period");
  refuse(has.rank, config.rank == plain.rank, "--rank");
  refuse(has.lambda0, config.lambda0 == plain.lambda0, "--lambda0");
  refuse(has.nudge, config.nudge_period == plain.nudge_period, "--nudge-period");
  refuse(has.nudge, config.nudge == plain.nudge, "--nudge-eps");
  refuse(has.version1, config.error_clip == plain.error_clip, "--error-clip");
  refuse(has.version1, config.symbolic == plain.symbolic, "--symbolic");
  refuse(has.form, config.form == plain.form, "--operator-form");
  check(config.rank >= 0, "--rank ", config.rank, " is negative; 0 or more is allowed");
  check(config.lambda0 >= 0 && std::isfinite(config.lambda0), "--lambda0 ", config.lambda0,
        " is not allowed; above 0, or 0 for the model's own");
  check(config.nudge_period >= -1, "--nudge-period ", config.nudge_period,
        " is not allowed; 0 (never) or more, or -1 for the model's own");
  check(config.nudge == -1 || (config.nudge >= 0 && std::isfinite(config.nudge)), "--nudge-eps ",
        config.nudge, " is not allowed; 0 or more, or -1 for the model's own");
  check(config.error_clip == -1 || (config.error_clip >= 0 && std::isfinite(config.error_clip)),
        "--error-clip ", config.error_clip,
        " is not allowed; 0 or more, or -1 for the model's own");
  check(config.symbolic >= 0 && std::isfinite(config.symbolic), "--symbolic ", config.symbolic,
        " is not allowed; 0 or more");
}

PenaltyKind penalty_kind(const std::string& name) {
  if (name == "key") return PenaltyKind::key;
  if (name == "learned") return PenaltyKind::learned;
  fail("--penalty '", name, "' is not allowed; key or learned");
}

FeatureMap feature_map(const std::string& name) {
  if (name == "elu") return FeatureMap::elu_plus_one;
  if (name == "identity") return FeatureMap::identity;
  fail("--features '", name, "' is not allowed; elu or identity");
}

VlaOptions vla_options(const MixerConfig& config) {
  VlaOptions options{.attention = config.attention.resolved(),
                     .feature_map = feature_map(config.features),
                     .penalty = penalty_kind(config.penalty),
                     .rank = config.rank,
                     .forget = config.forget,
                     .restore_period = config.restore_period,
                     .form = parse_form(config.form),
                     .learn_lambda0 = config.learn_lambda0};
  check(config.rank == 1 || options.penalty == PenaltyKind::learned, "--rank ", config.rank,
        " needs --penalty learned; penalty key has rank 1");
  check(config.restore_period >= 0, "--restore-period ", config.restore_period,
        " is negative; 0 or more is allowed");
  check(config.restore_period == 0 || config.forget, "--restore-period ", config.restore_period,
        " needs --forget; without it there is nothing to restore");
  if (config.lambda0 > 0) options.lambda_start = config.lambda0;
  check(options.lambda_start > options.lambda_floor, "--lambda0 ", options.lambda_start,
        " is not allowed; above its floor ", options.lambda_floor);
  return options;
}

VlaV1Options vla_v1_options(const MixerConfig& config) {
  VlaV1Options options{.attention = config.attention.resolved(),
                       .rank = config.rank,
                       .symbolic = config.symbolic,
                       .form = parse_form(config.form)};
  if (config.lambda0 > 0) options.recurrence.lambda0 = config.lambda0;
  if (config.nudge_period >= 0) options.recurrence.nudge_period = config.nudge_period;
  if (config.nudge >= 0) options.recurrence.nudge = config.nudge;
  if (config.error_clip >= 0) options.recurrence.error_clip = config.error_clip;
  check(options.form != OperatorForm::chunk,
        "--operator-form chunk is not for model vla-v1, which goes token by token; auto or step");
  return options;
}

VlaV3Options vla_v3_options(const MixerConfig& config) {
  // A layer that is trained wants a larger floor than the reference's: see VlaV3Options.
  VlaV3Options options{.attention = config.attention.resolved(),
                       .rank = config.rank,
                       .unit_floor = 1e-6,
                       .form = parse_form(config.form)};
  if (config.lambda0 > 0) options.lambda0 = config.lambda0;
  if (config.nudge_period >= 0) options.nudge_period = config.nudge_period;
  if (config.nudge >= 0) options.nudge = config.nudge;
  return options;
}

template <class Layer, class Options>
MixerFactory factory_of(const Options& options) {
  return [options](Rng& rng) { return std::make_unique<Layer>(options, rng); };
}

}  // namespace

std::span<const ModelKind> model_kinds() { return kKinds; }

MixerFactory mixer_factory(std::string_view kind, const MixerConfig& config) {
  check_settings_fit(kind, config);
  const AttentionOptions attention = config.attention.resolved();
  if (kind == "vla") return factory_of<Vla>(vla_options(config));
  if (kind == "vla-v1") return factory_of<VlaV1>(vla_v1_options(config));
  if (kind == "vla-v3") return factory_of<VlaV3>(vla_v3_options(config));
  if (kind == "deltanet")
    return factory_of<DeltaNet>(
        DeltaNetOptions{.attention = attention, .form = parse_form(config.form)});
  if (kind == "linear")
    return factory_of<LinearTransformer>(
        LinearTransformerOptions{.attention = attention, .form = parse_form(config.form)});
  return factory_of<SoftmaxTransformer>(attention);
}

VlaLanguageModel::VlaLanguageModel(const VlaLanguageModelConfig& config, Rng& rng)
    : LanguageModel(
          {.body = {.vocabulary = config.vocabulary,
                    .width = config.width,
                    .layers = config.layers,
                    .hidden = config.hidden,
                    .positions = config.positions}},
          mixer_factory(
              "vla",
              {.attention = {.width = config.width, .heads = config.heads, .deviation = 0.02}}),
          rng) {}

}  // namespace vla
