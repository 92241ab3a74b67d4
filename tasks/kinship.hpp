// Kinship: who is the last one of a chain of relatives to the first?
#pragma once

#include <string>

#include "tasks/task.hpp"

namespace vla {

/// What one person is to another, but for the gender. The first four are the steps of a chain.
/// A sibling-in-law is one of two kinds, which continue differently and share their words.
enum class Kin {
  parent,
  child,
  sibling,
  spouse,
  grandparent,
  grandchild,
  parents_sibling,  // uncle, aunt
  siblings_child,   // nephew, niece
  spouses_parent,   // father-in-law, mother-in-law
  childs_spouse,    // son-in-law, daughter-in-law
  siblings_spouse,  // brother-in-law, sister-in-law
  spouses_sibling,  // likewise
  none,
};
inline constexpr Index kKinSteps = 4;

/// What the `step` of someone's `relation` is to that someone, where no two of the chain are the
/// same person; none where that has no word here, or more than one. A family is a couple, a man and
/// a woman, with all children of both.
Kin compose(Kin relation, Kin step);

/// "father", "mother" ..: the word for a man or woman who is this kin.
std::string kin_word(Kin kin, bool woman);

/// Settings of Kinship.
struct KinshipOptions {
  Index vocabulary = 50;     ///< 24 words and the entities
  Index chain = 3;           ///< facts of an example, at most
  Index shortest_chain = 0;  ///< at least; 0: always as many as chain
  Index held_out_chain = 0;  ///< facts of a held-out example; 0: as the others
};

/// T = 3 (facts + 1) tokens, for the longest chain there is. From a first person on, each fact
/// leads to another one, who is a step (parent, child, sibling or spouse) of the one before:
///
///   a word b          a's father, mother, son .. is b; the facts in random order
///   QUERY first last  target: the word for what the last is to the first, at the last place
///
/// A step is drawn uniformly, with the gender, from those that lead to somebody new and for which
/// compose(what the person is to the first, step) is known; after any chain there are some. The
/// answer follows from the facts: from its first person on, each step composed with the relation
/// so far. The number of facts is uniform in shortest_chain .. chain; where it is smaller than T
/// has room for, padding stands in front. Tokens: PAD 0, QUERY 1, 22 words for relations, entities
/// from 24 on, drawn anew for each example. After CLUTRR (Sinha et al., 2019), which
/// tells such chains as stories.
class Kinship : public Task {
 public:
  static constexpr Index kQuery = 1, kFirstWord = 2, kFirstEntity = 24;

  /// Throws Error for chains that are not allowed or longer than there are entities.
  explicit Kinship(const KinshipOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override;
  /// The accuracy of one answer always, the most frequent: its share of 20000 held-out examples,
  /// always the same ones (standard deviation 0.003 or less; a little high where several answers
  /// are about as frequent).
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;
  Batch sample_held_out(Index size, Rng& rng) const override;

  /// The token of kin_word(kin, woman).
  static Index word(Kin kin, bool woman);
  /// The settings, with the shortest chain that was chosen.
  const KinshipOptions& options() const { return options_; }

 private:
  Batch sample_chains(Index shortest, Index longest, Index size, Rng& rng) const;

  KinshipOptions options_;
};

}  // namespace vla
