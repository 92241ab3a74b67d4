// What a task is: a source of labelled sequences, and how answers to it are scored.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/random.hpp"
#include "framework/tensor.hpp"

namespace vla {

/// A target that counts neither in the loss nor in the accuracy.
inline constexpr Index kIgnoredTarget = -100;

/// Sequences and what is asked of them: both int64 (B, T). targets[b, t] is the token to predict
/// from tokens[b, 0 .. t], or kIgnoredTarget.
struct Batch {
  Tensor tokens, targets;
};

/// A number that stands beside accuracy and loss, under its name in metrics.jsonl.
struct Measure {
  std::string name;
  double value = 0;
  std::string of = {};  ///< what it is of, where it is printed; empty: as the accuracy
};

/// A source of labelled sequences. A task that makes its examples needs the first four functions
/// alone; the others are for data that come from outside.
class Task {
 public:
  virtual ~Task() = default;
  /// Tokens are 0 .. vocabulary-1.
  virtual Index vocabulary() const = 0;
  /// Tokens in a sequence, T.
  virtual Index length() const = 0;
  /// The accuracy that takes no skill: each task says whose it is.
  virtual double chance() const = 0;
  /// `size` examples, a pure function of the state of `rng`, on the CPU. Throws Error for a
  /// negative size.
  virtual Batch sample(Index size, Rng& rng) const = 0;

  /// The same for evaluation: examples that share nothing with those of `sample`. Made examples
  /// need no more than another stream.
  virtual Batch sample_held_out(Index size, Rng& rng) const { return sample(size, rng); }
  /// Other measures of a model whose mean held-out loss is `loss`.
  virtual std::vector<Measure> measures(double /*loss*/) const { return {}; }
  /// What others than a model reach in these measures. May take seconds.
  virtual std::vector<Measure> references() const { return {}; }
  /// Tells data from outside apart, so that a run does not go on with others; empty: there are
  /// none.
  virtual std::string fingerprint() const { return {}; }
};

inline constexpr Index kLargestVocabulary = Index{1} << 24;
inline constexpr Index kLongestSequence = Index{1} << 40;

/// Throws Error unless least <= value <= most.
void check_task_setting(std::string_view task, std::string_view setting, Index value, Index least,
                        Index most);

/// Throws Error unless what is held out of files is "val" or "test".
void check_held_out(std::string_view task, std::string_view held_out);

/// Writes one example of T tokens. It is handed tokens that are all 0, and targets that are all
/// kIgnoredTarget.
using ExampleWriter = std::function<void(std::span<Index> tokens, std::span<Index> targets)>;

/// `size` examples of `length` tokens, written one after the other. Throws Error, with the task's
/// name, for a negative size.
Batch write_batch(std::string_view task, Index size, Index length, const ExampleWriter& write);

/// Right answers among the counted ones. Scores of several batches add up.
struct Score {
  Index right = 0;
  Index counted = 0;
  /// right / counted, 0 when nothing was counted.
  double accuracy() const;
  /// Adds those of another batch.
  Score& operator+=(const Score& other);
};

/// Compares the largest logit at each place, logits (..., vocabulary), with the target there,
/// targets int64 (...). Of equal logits the first is the answer; NaN is never one. Throws Error
/// for shapes that do not fit.
Score score(const Tensor& logits, const Tensor& targets);

}  // namespace vla
