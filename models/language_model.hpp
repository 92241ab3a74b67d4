// One language model and one classifier for every mixer, so that comparisons differ in the mixer
// alone.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/nn/layers.hpp"
#include "models/mixer.hpp"

namespace vla {

/// Pre-norm residual block: x + mixer(norm1(x)), then x + mlp(norm2(x)). x (B, T, width), made from
/// tokens (B, T).
struct Block {
  LayerNorm norm1;
  std::unique_ptr<Mixer> mixer;
  LayerNorm norm2;
  Mlp mlp;
  /// hidden is the width of the MLP. Throws Error for sizes that are not allowed.
  Block(Index width, Index hidden, const MixerFactory& make_mixer, Rng& rng,
        LinearOptions options = {});
  /// x (B, T, width) -> same.
  Var operator()(const Var& x, const Tensor& tokens);
  /// See Mixer::advance.
  Var advance(const Var& x, const Carry& carry);
  void visit(PartVisitor& parts);
};

/// The sizes of a model and how it starts.
struct SequenceModelConfig {
  Index vocabulary = 128;
  Index width = 128;
  Index layers = 2;
  Index hidden = 256;       ///< width of the MLP
  Index positions = 0;      ///< learned positions up to this length; 0: none
  double deviation = 0.02;  ///< of the normal distribution that weights start from
  DType dtype = DType::float32;
  /// Of activations: that of the parameters, or bfloat16 beside parameters of float32 (on CUDA).
  DType activations = dtype;
};

/// Those of affine maps in such a model.
LinearOptions linear_options(const SequenceModelConfig& config);
/// Its blocks. Throws Error for a negative number of them.
std::vector<Block> make_blocks(const SequenceModelConfig& config, const MixerFactory& make_mixer,
                               Rng& rng);

/// Token table, optional learned positions, blocks, final norm: tokens int64 (B, T) -> (B, T,
/// width). Throws Error for a sequence longer than `positions` (if there are any) and for tokens
/// outside the vocabulary.
class SequenceModel {
 public:
  /// Throws Error for sizes that are not allowed.
  SequenceModel(const SequenceModelConfig& config, const MixerFactory& make_mixer, Rng& rng);
  /// Tokens int64 (B, T) -> (B, T, width).
  Var operator()(const Tensor& tokens, CallSite site = CallSite::here());
  /// What the first block is given: token rows, and positions where `before` tokens came earlier:
  /// (B, T, width).
  Var embed(const Tensor& tokens, Index before = 0) const;
  /// The same for the tokens (B, T) that follow those the state has seen: see Mixer::stream.
  Var stream(const Tensor& tokens, StreamState& state);
  /// The same for this rank's part (B, T) of sequences that are split over ranks in order; T may
  /// differ from rank to rank. All ranks together, with gradients as
  /// sequence_parallel_least_squares has them. Throws Error for a mixer that needs whole sequences.
  Var split(const Tensor& tokens, const Communicator& ranks);
  /// From the first to the last.
  std::vector<Block>& blocks() { return blocks_; }
  /// (vocabulary, width).
  const Var& token_table() const { return tokens_.weight; }
  /// What it was made from.
  const SequenceModelConfig& config() const { return config_; }
  void visit(PartVisitor& parts);

 private:
  Var advance(const Tensor& tokens, const Carry& carry);

  SequenceModelConfig config_;
  Embedding tokens_;
  std::optional<Embedding> positions_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
};

/// A body, and how logits are made of its output.
struct LanguageModelConfig {
  SequenceModelConfig body;
  bool tied_head = true;  ///< logits from the token table; otherwise an affine head of its own
};

/// tokens int64 (B, T) -> logits (B, T, vocabulary).
class LanguageModel {
 public:
  /// Throws Error for sizes that are not allowed.
  LanguageModel(const LanguageModelConfig& config, const MixerFactory& make_mixer, Rng& rng);
  /// Tokens int64 (B, T) -> logits (B, T, vocabulary).
  Var operator()(const Tensor& tokens, CallSite site = CallSite::here());
  /// The same for the tokens (B, T) that follow those the state has seen: see Mixer::stream.
  Var stream(const Tensor& tokens, StreamState& state);
  /// The same for this rank's part (B, T) of sequences that are split over ranks: see
  /// SequenceModel::split.
  Var split(const Tensor& tokens, const Communicator& ranks);
  /// That of the body.
  const SequenceModelConfig& config() const { return body_.config(); }
  /// Where its parameters are.
  Device device() const { return body_.token_table().device(); }
  /// All but the head.
  SequenceModel& body() { return body_; }
  void visit(PartVisitor& parts);

 private:
  Var logits(const Var& x) const;

  SequenceModel body_;
  std::optional<Linear> head_;
};

/// A body, and the number of classes.
struct ClassifierConfig {
  SequenceModelConfig body;
  Index classes = 2;
};

/// The body's output averaged over time, and an affine head: tokens (B, T), T >= 1 -> (B, classes).
class Classifier {
 public:
  /// Throws Error for sizes that are not allowed.
  Classifier(const ClassifierConfig& config, const MixerFactory& make_mixer, Rng& rng);
  /// Tokens int64 (B, T) -> logits (B, classes).
  Var operator()(const Tensor& tokens, CallSite site = CallSite::here());
  void visit(PartVisitor& parts);

 private:
  SequenceModel body_;
  Linear head_;
};

}  // namespace vla
