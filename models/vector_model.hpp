// The blocks of a language model for sequences of vectors: numbers in, numbers out.
#pragma once

#include "models/language_model.hpp"

namespace vla {

/// The sizes of a VectorModel.
struct VectorModelConfig {
  Index inputs = 1;               ///< numbers that go in at every place
  Index outputs = 1;              ///< and that come out
  SequenceModelConfig body = {};  ///< without tokens: vocabulary and positions do not count
};

/// An affine map in, blocks, final norm, an affine map out; no positions: x (B, T, inputs) ->
/// (B, T, outputs).
class VectorModel {
 public:
  /// Throws Error for sizes that are not allowed.
  VectorModel(const VectorModelConfig& config, const MixerFactory& make_mixer, Rng& rng);
  /// Throws Error unless x is (B, T, inputs).
  Var operator()(const Var& x, CallSite site = CallSite::here());
  void visit(PartVisitor& parts);

 private:
  Linear input_;
  LayerNorm norm_;
  Linear output_;
  std::vector<Block> blocks_;  // the last that draws its weights
};

}  // namespace vla
