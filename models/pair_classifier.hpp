// A classifier of pairs of sequences, each of which is read by itself.
#pragma once

#include "models/language_model.hpp"

namespace vla {

/// Tokens (B, T), T even: one sequence in each half. The body reads each alone; of its outputs a
/// and b at their last places, MLP and affine map see a, b, a b and a - b: (B, classes). Two
/// documents are so compared in the Long Range Arena.
class PairClassifier {
 public:
  /// Throws Error for sizes that are not allowed.
  PairClassifier(const ClassifierConfig& config, const MixerFactory& make_mixer, Rng& rng);
  /// Throws Error for tokens of another form.
  Var operator()(const Tensor& tokens, CallSite site = CallSite::here());
  void visit(PartVisitor& parts);

 private:
  SequenceModel body_;
  Mlp mlp_;
  Linear head_;
};

}  // namespace vla
