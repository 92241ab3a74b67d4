// Selective copying: tokens scattered among noise, to be given back in their order.
#pragma once

#include "tasks/task.hpp"

namespace vla {

/// Settings of SelectiveCopy.
struct SelectiveCopyOptions {
  Index vocabulary = 16;
  Index items = 16;    ///< n, the tokens to copy
  Index length = 256;  ///< T, 2n or more
};

/// T tokens: T-n places with n items at places drawn anew for each example, noise (0) at the
/// others, and then n markers (vocabulary-1), whose targets are the items in their order. Items are
/// drawn from 1 .. vocabulary-2 with replacement. Since the distance between an item and its answer
/// differs from example to example, the items must be told from the noise by what they are, not by
/// where they stand. Source: Gu and Dao, "Mamba", 2023, section 4.1.1 (there T-n = 4096).
class SelectiveCopy : public Task {
 public:
  /// Throws Error for a vocabulary without an item and a length without room for the items.
  explicit SelectiveCopy(const SelectiveCopyOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override { return options_.length; }
  /// The accuracy of a guess without memory: 1 / (vocabulary-2). One that has seen how often each
  /// item came, but not in which order, reaches more.
  double chance() const override { return 1 / static_cast<double>(options_.vocabulary - 2); }
  Batch sample(Index size, Rng& rng) const override;

  /// What it was made from.
  const SelectiveCopyOptions& options() const { return options_; }

 private:
  SelectiveCopyOptions options_;
};

}  // namespace vla
