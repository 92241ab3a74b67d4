// Associative recall: key value pairs, with distractors between them, then several queries.
#pragma once

#include "tasks/task.hpp"

namespace vla {

/// Settings of AssociativeRecall.
struct AssociativeRecallOptions {
  Index vocabulary = 100;
  Index pairs = 15;
  Index queries = 5;
  Index distractors = 0;        ///< tokens after every pair that belong to none
  bool repeat_queries = false;  ///< the same key may be asked more than once
};

/// T = pairs (2 + distractors) + 1 + queries tokens: every pair is its key, its value and the
/// distractors; then come the query token (vocabulary-1) and the keys that are asked for. The
/// target at a query is the value of that key; all other targets are ignored.
///
/// Keys and values share the alphabet 0 .. vocabulary-2. The keys of an example are distinct, its
/// values drawn with replacement; a value may look like a key. A distractor is any token of the
/// alphabet but a key of the example, so that only a value can be taken for a key. The queries are
/// drawn without replacement, or with it (`repeat_queries`).
class AssociativeRecall : public Task {
 public:
  /// Throws Error for settings that leave no room for the keys, the distractors or the queries.
  explicit AssociativeRecall(const AssociativeRecallOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override;
  /// The expected accuracy of the best guess that sees the values, but not which key each belongs
  /// to: the share of the most frequent of them, a little above 1 / pairs.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;

  /// What it was made from.
  const AssociativeRecallOptions& options() const { return options_; }

 private:
  void write_example(std::span<Index> tokens, std::span<Index> targets, Rng& rng) const;

  AssociativeRecallOptions options_;
};

}  // namespace vla
