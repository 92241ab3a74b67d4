// A language model that writes: one token after the other, in memory that does not depend on how
// many there are, unless the mixer's own state grows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "models/language_model.hpp"

namespace vla {

/// How a token is chosen.
struct SamplingOptions {
  /// Logits are divided by it; 0: always the most likely token, the first of equal ones.
  double temperature = 1;
  Index top_k = 0;  ///< only so many of the most likely tokens are drawn from; 0: all
};

/// A token 0 .. V-1 with the probabilities softmax(logits / temperature), logits (V). Takes one
/// number from `rng`, none at temperature 0. Throws Error for options that are not allowed, and for
/// logits that are not finite.
Index sample_token(const Tensor& logits, const SamplingOptions& options, Rng& rng);

/// Continues one sequence. The token at place t is drawn with a random number that depends on
/// (seed, t) alone, so that a sequence goes on in the same way wherever it was left.
class Generator {
 public:
  /// The model must outlive the generator, and stay on its device. Throws Error for options that
  /// are not allowed.
  Generator(LanguageModel& model, const SamplingOptions& options, std::uint64_t seed);

  /// Appends tokens from outside. Throws Error, with the sequence as it was, for a token outside
  /// the vocabulary, or more tokens than the model has positions for.
  void read(std::span<const Index> tokens);
  /// Appends a token of the model's own. Throws Error before anything was read.
  Index next();
  /// Tokens of the sequence so far.
  Index tokens() const { return state_.tokens + (last_ ? 1 : 0); }

  /// The sequence as a file for write_safetensors.
  TensorFile save() const;
  /// The way back. Throws Error, with the sequence as it was, for a file that is none, or one left
  /// by a model with other weights.
  void load(const TensorFile& file);

 private:
  LanguageModel& model_;
  SamplingOptions options_;
  std::uint64_t seed_;
  StreamState state_;          // after all tokens but the last
  std::optional<Index> last_;  // which the model has not seen yet
};

}  // namespace vla
