// The symbolic ancestor task: a chain of descent told in any order, and who descends from whom.
#pragma once

#include "tasks/task.hpp"

namespace vla {

/// Settings of Ancestor.
struct AncestorOptions {
  Index vocabulary = 34;     ///< 8 words and the entities
  Index chain = 4;           ///< facts of an example, at most
  Index shortest_chain = 0;  ///< at least; 0: always as many as chain
  Index held_out_chain = 0;  ///< facts of a held-out example; 0: as the others
};

/// T = 6 (facts + 1) tokens, for the longest chain there is. For each two neighbours of a chain of
/// different entities, which is drawn anew for each example, a fact:
///
///   E1 IS ANCESTOR OF E2 SEP          the facts in random order
///   QUERY a IS ANCESTOR OF b          target TRUE or FALSE, at b, the last place
///
/// a and b are any two of the chain, a before b with probability 1/2, which is what is true. The
/// number of facts is uniform in shortest_chain .. chain; where it is smaller than T has room for,
/// padding stands in front. Tokens: PAD 0, SEP 1, QUERY 2, TRUE 3, FALSE 4, IS 5, ANCESTOR 6, OF 7,
/// entities from 8 on. Source: run_symbolic_reasoning of the public reference of VLA, with 4 facts
/// of 26 entities, and one token more that never comes.
class Ancestor : public Task {
 public:
  static constexpr Index kSeparator = 1, kQuery = 2, kTrue = 3, kFalse = 4, kIs = 5, kAncestor = 6,
                         kOf = 7, kFirstEntity = 8;

  /// Throws Error for chains that are not allowed or longer than there are entities.
  explicit Ancestor(const AncestorOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override;
  /// True and false are as frequent: 1/2. One that knows of a and b only whether a fact has them on
  /// the left, on the right or both reaches more: it can tell the two ends of the chain.
  double chance() const override { return 0.5; }
  Batch sample(Index size, Rng& rng) const override;
  Batch sample_held_out(Index size, Rng& rng) const override;

  /// The relation "the same entity": R[b, t, j] = 1 where tokens (B, T) t and j are the same
  /// entity, else 0 -> (B, T, T), as VlaV1::run takes relations. `--symbolic` relates all equal
  /// tokens, the other words and the padding too.
  Tensor relations(const Tensor& tokens, DType dtype) const;

  /// The settings, with the shortest chain that was chosen.
  const AncestorOptions& options() const { return options_; }

 private:
  Batch sample_chains(Index shortest, Index longest, Index size, Rng& rng) const;

  AncestorOptions options_;
};

}  // namespace vla
