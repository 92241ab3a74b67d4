// Retrieval: key value pairs, a long silence, and one key at the very end.
#pragma once

#include "tasks/task.hpp"

namespace vla {

/// Settings of Retrieval.
struct RetrievalOptions {
  Index vocabulary = 32;
  Index pairs = 20;
  Index length = 256;  ///< T, 2 pairs + 1 or more
};

/// T tokens: k1 v1 .. kn vn, zeros, and one of the keys as the last token, whose value is the only
/// target. Keys and values share the alphabet 1 .. vocabulary-1; the keys of an example are
/// distinct, its values drawn with replacement. Source: scripts/benchmark_retrieval.py of the
/// public reference of VLA.
class Retrieval : public Task {
 public:
  /// Throws Error for settings that leave no room for the keys or the query.
  explicit Retrieval(const RetrievalOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override { return options_.length; }
  /// The expected accuracy of the best guess that sees the values, but not which key each belongs
  /// to: the share of the most frequent of them, a little above 1 / pairs when the vocabulary is
  /// large.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;

  /// What it was made from.
  const RetrievalOptions& options() const { return options_; }

 private:
  RetrievalOptions options_;
};

}  // namespace vla
