// Delayed recall: at every place, the token that stood there a fixed number of places before.
#pragma once

#include "tasks/task.hpp"

namespace vla {

/// Settings of DelayedRecall.
struct DelayedRecallOptions {
  Index vocabulary = 20;
  Index delay = 20;  ///< D
  Index length = 0;  ///< T; 0: 200 or 2D, whichever is more
};

/// T tokens drawn independently from 1 .. vocabulary-1; the target at place t is the token at place
/// t-D. The first D targets are ignored. Half of the places or more have a target: T >= 2D.
class DelayedRecall : public Task {
 public:
  /// Throws Error for a vocabulary without a symbol, a delay below 1 and a length below 2D.
  explicit DelayedRecall(const DelayedRecallOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override { return options_.length; }
  /// The accuracy of a guess without memory: 1 / (vocabulary-1).
  double chance() const override { return 1 / static_cast<double>(options_.vocabulary - 1); }
  Batch sample(Index size, Rng& rng) const override;

  /// The settings, with the length that was chosen.
  const DelayedRecallOptions& options() const { return options_; }

 private:
  DelayedRecallOptions options_;
};

}  // namespace vla
