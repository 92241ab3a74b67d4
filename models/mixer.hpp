// What a block needs from its attention: something that mixes a sequence over time.
#pragma once

#include <functional>
#include <memory>

#include "framework/nn/module.hpp"
#include "framework/random.hpp"
#include "models/operator_form.hpp"

namespace vla {

struct Diagnostics;
struct DiagnosticsOptions;

/// A causal map of sequences: x (B, T, width) -> (B, T, width). Softmax attention, linear
/// attention, DeltaNet and VLA are mixers; a user's own becomes one by deriving from this.
class Mixer {
 public:
  virtual ~Mixer() = default;
  virtual Var operator()(const Var& x) = 0;
  /// The same for a mixer that also looks at which tokens (B, T) the sequence is made of.
  virtual Var operator()(const Var& x, const Tensor& /*tokens*/) { return (*this)(x); }
  /// In which form its recurrent operators run over a whole sequence, step or chunk; automatic for
  /// a mixer that has none.
  virtual OperatorForm form() const { return OperatorForm::automatic; }
  virtual void visit(PartVisitor& parts) = 0;
  /// What the mixer does with x, made from `tokens`: see models/diagnostics.hpp. Throws Error for a
  /// mixer that does not say.
  virtual Diagnostics diagnose(const Var& x, const Tensor& tokens,
                               const DiagnosticsOptions& options);
};

/// Makes the mixer of one block.
using MixerFactory = std::function<std::unique_ptr<Mixer>(Rng& rng)>;

}  // namespace vla
