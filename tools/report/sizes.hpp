// Accuracy against the number in the names of settings: pairs-4, pairs-8, ...
#pragma once

#include "tools/report/page.hpp"
#include "tools/report/results_file.hpp"

namespace vla {

/// A name with one of its numbers taken out.
struct NumberedName {
  std::string before, after;
  double number = 0;

  /// "pairs-N-plain" of pairs-4-plain.
  std::string family() const { return before + "N" + after; }
  /// "pairs" of it: what the number counts.
  std::string counted() const;
};

/// One for each number in the name: those that are words of their own, between '-'.
std::vector<NumberedName> numbered_names(const std::string& name);

/// A figure for every family of settings, and for every family of evaluations of one setting, of
/// two or more numbers: a line a model, with the spread over the seeds, and chance.
void add_size_figures(Page& page, const ResultsFile& results);

}  // namespace vla
