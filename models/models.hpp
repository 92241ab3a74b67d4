// The models in one header, and by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "models/delta_net/delta_net.hpp"
#include "models/language_model.hpp"
#include "models/linear_transformer/linear_transformer.hpp"
#include "models/softmax_transformer/softmax_transformer.hpp"
#include "models/vla/vla.hpp"
#include "models/vla/vla_v1.hpp"
#include "models/vla/vla_v3.hpp"

namespace vla {

/// Settings by which a mixer can be made from its name alone.
struct MixerConfig {
  AttentionOptions attention = {.deviation = 0.02};
  std::string penalty = "key";  ///< vla only: "key" or "learned"
  Index rank = 1;               ///< vla only, with penalty "learned": directions per token
  bool forget = false;          ///< vla only: a learned forgetting factor per token and head
  Index restore_period = 0;     ///< vla only, with forget: tokens between restorations; 0: never
};

struct ModelKind {
  std::string_view name;
  std::string_view description;
};

/// The mixers that can be asked for by name: vla, deltanet, linear, softmax.
std::span<const ModelKind> model_kinds();

/// A factory for the mixer `kind`. Throws Error for an unknown kind and for settings that do not
/// fit it or each other, with what is allowed.
MixerFactory mixer_factory(std::string_view kind, const MixerConfig& config);

struct VlaLanguageModelConfig {
  Index vocabulary = 128;
  Index width = 128;
  Index heads = 4;
  Index layers = 2;
  Index hidden = 256;
  Index positions = 0;  ///< learned positions up to this length; 0: none
};

/// A language model with exact VLA as its mixer.
class VlaLanguageModel : public LanguageModel {
 public:
  VlaLanguageModel(const VlaLanguageModelConfig& config, Rng& rng);
};

}  // namespace vla
