// The models in one header, and by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "models/language_model.hpp"
#include "models/mixer.hpp"

namespace vla {

/// Settings that every mixer understands or ignores.
struct MixerConfig {
  Index width = 128;       ///< of the sequence that goes in and comes out
  Index heads = 4;
  Index key_width = 0;     ///< per head; 0: width / heads
  Index value_width = 0;   ///< per head; 0: width / heads
  Index convolution = 4;   ///< taps of the causal convolution on q, k and v; 0: none
  std::string penalty = "key";  ///< VLA only: "key" or "learned"
  Index rank = 1;               ///< VLA only, with penalty "learned": directions per token
  bool forget = false;          ///< VLA only: a learned forgetting factor per token and head
  Index restore_period = 0;     ///< VLA only, with forget: tokens between restorations; 0: never
  double deviation = 0.02;      ///< of the normal distribution that weights start from
  DType dtype = DType::float32;
};

struct ModelKind {
  std::string_view name;
  std::string_view description;
};

/// The mixers that can be asked for by name: vla, deltanet, linear, softmax.
std::span<const ModelKind> model_kinds();

/// A factory for the mixer `kind`. Throws Error for an unknown kind and for settings that do not
/// fit together, with what is allowed.
MixerFactory mixer_factory(std::string_view kind, const MixerConfig& config);

/// A language model with exact VLA as its mixer (see models/vla/README.md).
struct VlaLanguageModelConfig {
  Index vocabulary = 128;
  Index width = 128;
  Index heads = 4;
  Index layers = 2;
  Index hidden = 256;
};
class VlaLanguageModel : public LanguageModel {
 public:
  VlaLanguageModel(const VlaLanguageModelConfig& config, Rng& rng);
};

}  // namespace vla
