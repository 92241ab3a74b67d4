#include "models/models.hpp"

#include <array>

namespace vla {
namespace {

constexpr std::array kKinds{
    ModelKind{"vla", "exact Variational Linear Attention: least squares solved at every token"},
    ModelKind{"deltanet", "DeltaNet: linear memory with the delta rule"},
    ModelKind{"linear", "linear transformer: linear attention with elu + 1 features"},
    ModelKind{"softmax", "causal softmax attention"},
};

PenaltyKind penalty_kind(const std::string& name) {
  if (name == "key") return PenaltyKind::key;
  if (name == "learned") return PenaltyKind::learned;
  fail("unknown penalty '", name, "'; allowed: key, learned");
}

VlaOptions vla_options(const MixerConfig& config) {
  VlaOptions options{.attention = config.attention.resolved(),
                     .penalty = penalty_kind(config.penalty),
                     .rank = config.rank,
                     .forget = config.forget,
                     .restore_period = config.restore_period};
  check(config.rank >= 0, "rank ", config.rank, " is negative; 0 or more is allowed");
  check(config.rank == 1 || options.penalty == PenaltyKind::learned, "rank ", config.rank,
        " needs --penalty learned; penalty 'key' has rank 1");
  check(config.restore_period >= 0, "restore period ", config.restore_period,
        " is negative; 0 or more is allowed");
  check(config.restore_period == 0 || config.forget, "restore period ", config.restore_period,
        " needs forgetting; without it there is nothing to restore");
  return options;
}

void check_no_vla_settings(std::string_view kind, const MixerConfig& config) {
  const MixerConfig plain;
  check(config.penalty == plain.penalty && config.rank == plain.rank && !config.forget &&
            config.restore_period == plain.restore_period,
        "model '", kind, "' has no penalty: penalty, rank, forget and restore period are for vla");
}

}  // namespace

std::span<const ModelKind> model_kinds() { return kKinds; }

MixerFactory mixer_factory(std::string_view kind, const MixerConfig& config) {
  const AttentionOptions attention = config.attention.resolved();
  if (kind == "vla")
    return
        [options = vla_options(config)](Rng& rng) { return std::make_unique<Vla>(options, rng); };
  check_no_vla_settings(kind, config);
  if (kind == "deltanet")
    return [=](Rng& rng) {
      return std::make_unique<DeltaNet>(DeltaNetOptions{.attention = attention}, rng);
    };
  if (kind == "linear")
    return [=](Rng& rng) {
      return std::make_unique<LinearTransformer>(LinearTransformerOptions{.attention = attention},
                                                 rng);
    };
  if (kind == "softmax")
    return [=](Rng& rng) { return std::make_unique<SoftmaxTransformer>(attention, rng); };
  std::string allowed;
  for (const ModelKind& known : kKinds)
    allowed += (allowed.empty() ? "" : ", ") + std::string(known.name);
  fail("unknown model '", kind, "'; allowed: ", allowed);
}

VlaLanguageModel::VlaLanguageModel(const VlaLanguageModelConfig& config, Rng& rng)
    : LanguageModel(
          {.body = {.vocabulary = config.vocabulary,
                    .width = config.width,
                    .layers = config.layers,
                    .hidden = config.hidden}},
          mixer_factory(
              "vla",
              {.attention = {.width = config.width, .heads = config.heads, .deviation = 0.02}}),
          rng) {}

}  // namespace vla
