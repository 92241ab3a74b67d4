#include "models/pair_classifier.hpp"

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/shaping.hpp"

namespace vla {
PairClassifier::PairClassifier(const ClassifierConfig& config, const MixerFactory& make_mixer,
                               Rng& rng)
    : body_(config.body, make_mixer, rng),
      mlp_(4 * config.body.width, config.body.hidden, rng, linear_options(config.body)),
      head_(4 * config.body.width, config.classes, rng, linear_options(config.body)) {}

Var PairClassifier::operator()(const Tensor& tokens, CallSite site) {
  const CalledFrom call(site);
  check(tokens.rank() == 2 && tokens.size(1) >= 2 && tokens.size(1) % 2 == 0,
        "pair classifier: tokens have shape ", tokens.shape(),
        "; (B, T) with an even T, 2 or more, is needed");
  const Index size = tokens.size(0), time = tokens.size(1) / 2;
  const Var outputs = body_(tokens.reshape({2 * size, time}));
  const Var ends = reshape(slice(outputs, 1, time - 1, time), {size, 2, -1});
  const auto of = [&](Index which) {
    return reshape(slice(ends, 1, which, which + 1), {size, -1});
  };
  const Var a = of(0), b = of(1);
  return head_(mlp_(concat({a, b, a * b, a - b}, 1)));
}

void PairClassifier::visit(PartVisitor& parts) {
  parts("body", body_);
  parts("mlp", mlp_);
  parts("head", head_);
}

}  // namespace vla
