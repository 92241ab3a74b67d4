// The models in one header, and by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "models/carried.hpp"
#include "models/delta_net/delta_net.hpp"
#include "models/diagnostics.hpp"
#include "models/generator.hpp"
#include "models/language_model.hpp"
#include "models/linear_transformer/linear_transformer.hpp"
#include "models/pair_classifier.hpp"
#include "models/softmax_transformer/softmax_attention.hpp"
#include "models/softmax_transformer/softmax_transformer.hpp"
#include "models/vector_model.hpp"
#include "models/vla/primitives.hpp"
#include "models/vla/recursive_least_squares.hpp"
#include "models/vla/sequence_parallel.hpp"
#include "models/vla/vla.hpp"
#include "models/vla/vla_v1.hpp"
#include "models/vla/vla_v3.hpp"

namespace vla {

/// Settings by which a mixer can be made from its name alone. What a mixer does not have must keep
/// its default.
struct MixerConfig {
  AttentionOptions attention = {.deviation = 0.02};
  std::string penalty = "key";  ///< vla: "key" or "learned"
  Index rank = 1;             ///< vla with penalty "learned", vla-v1, vla-v3: directions per token
  bool forget = false;        ///< vla: a learned forgetting factor per token and head
  Index restore_period = 0;   ///< vla with forget: tokens between restorations; 0: never
  double lambda0 = 0;         ///< all of VLA: (start of) lambda0; 0: the mixer's own
  bool learn_lambda0 = true;  ///< vla: lambda0 is learned; otherwise it stays at its start
  std::string features = "elu";  ///< vla, of queries and keys before unit(): elu (+ 1) or identity
  Index nudge_period = -1;       ///< vla-v1, vla-v3: updates between nudges; -1: the mixer's own
  double nudge = -1;             ///< vla-v1, vla-v3: what a nudge adds; -1: the mixer's own
  double error_clip = -1;        ///< vla-v1: longest error; 0: any; -1: the mixer's own
  double symbolic = 0;           ///< vla-v1: weight of the symbolic direction; 0: none
  std::string form = "auto";  ///< all but softmax, of the recurrent operators: auto, step or chunk
};

/// A mixer by its name.
struct ModelKind {
  std::string_view name;
  std::string_view description;
};

/// The mixers that can be asked for by name.
std::span<const ModelKind> model_kinds();

/// A factory for the mixer `kind`. Throws Error for an unknown kind and for settings that do not
/// fit it or each other, with what is allowed.
MixerFactory mixer_factory(std::string_view kind, const MixerConfig& config);

/// The sizes of a VlaLanguageModel.
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
  /// Throws Error for sizes that are not allowed.
  VlaLanguageModel(const VlaLanguageModelConfig& config, Rng& rng);
};

}  // namespace vla
