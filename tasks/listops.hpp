// ListOps: the value of a long nested expression, of the Long Range Arena.
#pragma once

#include "tasks/listops_file.hpp"
#include "tasks/task.hpp"

namespace vla {

/// Settings of ListOps.
struct ListOpsOptions {
  Index depth = 10;       ///< of an expression, at most
  Index arguments = 10;   ///< of an operator, at most
  Index length = 2000;    ///< T; expressions are smaller
  Index size_above = 0;   ///< expressions are larger; 0: a quarter of the length
  std::string data = {};  ///< a folder of files to take the expressions from; empty: they are drawn
  std::string held_out = "val";  ///< of the data: val or test
};

/// T tokens: an expression, then padding (0). The value is asked for at the expression's last
/// symbol, as the token of that digit; see listops_expression.hpp for the tokens and for how
/// expressions are drawn. Drawn ones count if size_above < size < T.
///
/// With `data` they come from basic_train.tsv, and the held-out ones from basic_`held_out`.tsv,
/// epoch by epoch (tasks/epochs.hpp); depth, arguments and size_above then count for nothing.
class ListOps : public Task {
 public:
  /// Throws Error for settings that are not allowed, and for files that cannot be read or are
  /// damaged.
  explicit ListOps(const ListOpsOptions& options = {});

  Index vocabulary() const override { return kListOpsVocabulary; }
  Index length() const override { return options_.length; }
  /// The accuracy of one answer always, the most frequent: 0, or 9, since minima and maxima of
  /// many arguments are those. Drawn expressions: its share of 5000 of them, always the same ones
  /// (standard deviation 0.005; the larger of two such shares, so a little high). With data: the
  /// share of held-out expressions that have the value most frequent in basic_train.tsv.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;
  Batch sample_held_out(Index size, Rng& rng) const override;
  std::string fingerprint() const override { return fingerprint_; }

  /// The settings, with the size that was chosen.
  const ListOpsOptions& options() const { return options_; }
  /// The rule that expressions are drawn by.
  ListOpsGrammar grammar() const;

 private:
  Batch sample_from(const ListOpsSet& set, Index size, Rng& rng) const;

  ListOpsOptions options_;
  ListOpsSet training_, held_out_;
  std::string fingerprint_;
};

}  // namespace vla
