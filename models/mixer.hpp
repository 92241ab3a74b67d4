// What a block needs from its attention: something that mixes a sequence over time.
#pragma once

#include <functional>
#include <memory>

#include "framework/nn/module.hpp"
#include "framework/random.hpp"
#include "models/operator_form.hpp"
#include "models/stream_state.hpp"

namespace vla {

struct Diagnostics;
struct DiagnosticsOptions;

/// A causal map of sequences: x (B, T, width) -> (B, T, width). Softmax attention, linear
/// attention, DeltaNet and VLA are mixers; a user's own becomes one by deriving from this.
class Mixer {
 public:
  virtual ~Mixer() = default;
  /// x (B, T, width) -> same.
  virtual Var operator()(const Var& x) = 0;
  /// The same for a mixer that also looks at which tokens (B, T) the sequence is made of.
  virtual Var operator()(const Var& x, const Tensor& /*tokens*/) { return (*this)(x); }
  /// In which form its recurrent operators run over a sequence of `time` tokens, step or chunk;
  /// automatic for a mixer that has none.
  virtual OperatorForm form(Index /*time*/) const { return OperatorForm::automatic; }
  /// Names its parts: see module.hpp.
  virtual void visit(PartVisitor& parts) = 0;
  /// What the mixer does with x, made from `tokens`: see models/diagnostics.hpp. Throws Error for a
  /// mixer that does not say.
  virtual Diagnostics diagnose(const Var& x, const Tensor& tokens,
                               const DiagnosticsOptions& options);

  /// The output for the T tokens x (B, T, width) that follow those the state has seen; the state
  /// then moves on by T tokens. Block by block it is the output for the whole sequence. For
  /// inference: no gradient flows through the state. Throws Error, with the state as it was, if
  /// the mixer does not stream, or the state is not its own or is of another batch size.
  Var stream(const Var& x, StreamState& state) {
    return stream_block(state, x.size(1), [&](const Carry& carry) { return advance(x, carry); });
  }
  /// What a mixer that streams defines: the output for x, with what it needs of earlier tokens
  /// taken from `carry`, and what later ones need left there.
  virtual Var advance(const Var& /*x*/, const Carry& /*carry*/) {
    fail("stream: this mixer does not stream; it would override Mixer::advance");
  }
};

/// Makes the mixer of one block.
using MixerFactory = std::function<std::unique_ptr<Mixer>(Rng& rng)>;

}  // namespace vla
