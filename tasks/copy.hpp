// Copying: a prefix of random symbols, a separator, and then the prefix again from memory.
#pragma once

#include "tasks/task.hpp"

namespace vla {

/// Settings of Copy.
struct CopyOptions {
  Index vocabulary = 10;
  Index prefix = 20;          ///< n, the longest prefix
  Index shortest_prefix = 0;  ///< shortest prefix; 0: all have length n
  bool show_answers = false;  ///< the place after an answer shows it, in place of a blank
};

/// T = 2n+1 tokens: x_1 .. x_m, the separator (vocabulary-1), m places whose targets are x_1 .. x_m
/// in this order, and blanks (0) up to T. The symbols x are drawn from 1 .. vocabulary-2 with
/// replacement, m uniformly from shortest_prefix .. n for each example. Everything but the m
/// targets is ignored.
///
/// The m places hold blanks, so that the token at a place says nothing about the target there, and
/// an answer must be found by its place. With `show_answers` they hold a blank, x_1 .. x_{m-1}: a
/// model may then find an answer by the symbols before it, without knowing its place, which is
/// what can carry over to prefixes longer than those it was trained on.
class Copy : public Task {
 public:
  /// Throws Error for a vocabulary without a symbol and for prefixes that are not allowed.
  explicit Copy(const CopyOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override { return 2 * options_.prefix + 1; }
  /// The accuracy of a guess without memory: 1 / (vocabulary-2). One that has seen how often each
  /// symbol came, but not where, reaches more, the more so the shorter the prefix.
  double chance() const override { return 1 / static_cast<double>(symbols()); }
  Batch sample(Index size, Rng& rng) const override;

  /// The settings, with the shortest prefix that was chosen.
  const CopyOptions& options() const { return options_; }

 private:
  Index symbols() const { return options_.vocabulary - 2; }

  CopyOptions options_;
};

}  // namespace vla
