// One language model for every mixer, so that comparisons differ in the mixer alone.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/nn/layers.hpp"
#include "models/mixer.hpp"

namespace vla {

/// Pre-norm residual block: x + mixer(norm1(x)), then x + mlp(norm2(x)).
struct Block {
  LayerNorm norm1;
  std::unique_ptr<Mixer> mixer;
  LayerNorm norm2;
  Mlp mlp;
  Block(Index width, Index hidden, const MixerFactory& make_mixer, Rng& rng,
        LinearOptions options = {});
  Var operator()(const Var& x);
  void visit(PartVisitor& parts);
};

struct LanguageModelConfig {
  Index vocabulary = 128;
  Index width = 128;
  Index layers = 2;
  Index hidden = 256;     ///< width of the MLP
  Index positions = 0;    ///< learned positions up to this length; 0: none
  bool tied_head = true;  ///< logits from the token table; otherwise a linear head of its own
  double deviation = 0.02;  ///< of the normal distribution that weights start from
  DType dtype = DType::float32;
};

/// Token table, optional learned positions, blocks, final norm, head.
/// tokens int64 (B, T) -> logits (B, T, vocabulary). Throws Error for a sequence longer than
/// `positions` (if there are any) or for tokens outside the vocabulary.
class LanguageModel {
 public:
  LanguageModel(const LanguageModelConfig& config, const MixerFactory& make_mixer, Rng& rng);
  Var operator()(const Tensor& tokens);
  void visit(PartVisitor& parts);
  const LanguageModelConfig& config() const { return config_; }

 private:
  LanguageModelConfig config_;
  Embedding tokens_;
  std::optional<Embedding> positions_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  std::optional<Linear> head_;
};

struct ClassifierConfig {
  LanguageModelConfig body;
  Index classes = 2;
};

/// The same body, its output averaged over time, and a linear head: tokens (B, T) -> (B, classes).
class Classifier {
 public:
  Classifier(const ClassifierConfig& config, const MixerFactory& make_mixer, Rng& rng);
  Var operator()(const Tensor& tokens);
  void visit(PartVisitor& parts);

 private:
  Embedding tokens_;
  std::optional<Embedding> positions_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Linear head_;
};

}  // namespace vla
