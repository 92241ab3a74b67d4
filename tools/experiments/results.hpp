// What an experiment has found so far, from the directories of its runs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/experiments/plan.hpp"

namespace vla {

/// Failures of this call that are not written down, by what was to be made.
using Failures = std::map<std::string, std::string>;

/// A run with what came of it, if anything has.
struct Found {
  ExperimentRun run;
  std::optional<RunOutcome> outcome;
  bool finished() const { return outcome && outcome->failure.empty(); }
  bool failed() const { return outcome && !outcome->failure.empty(); }
};

/// What there is of a model in a group.
struct CellResults {
  ExperimentCell cell;
  std::vector<Found> search;
  std::vector<Found> repeats = {};  ///< once the best rate is known
  std::string rate = {};            ///< the best; empty: not known
  bool search_failed = false;       ///< there is no rate at which the model can be trained
};

/// Of plan.known_cells().
std::vector<CellResults> all_results(const ExperimentPlan& plan, const Failures& failures);

/// A row of the table: a model in a group, as trained or evaluated on other sizes.
struct ResultRow {
  std::string setting;  ///< the group, and what it was evaluated on
  std::string model;
  std::string rate;
  std::vector<double> accuracies = {};  ///< of the seeds that have one
  Index seeds = 0;                      ///< that there are to be
  Index failed = 0;                     ///< of those
  bool search_failed = false;
  double chance = 0, steps = 0, seconds = 0;  ///< of the trainings, means over the seeds
  Index parameters = 0;                       ///< 0: nothing is trained yet
  std::optional<Index> state_bytes = {};

  double mean() const;
  double lowest() const;
  double highest() const;
};

std::vector<ResultRow> result_rows(const ExperimentPlan& plan,
                                   const std::vector<CellResults>& results,
                                   const Failures& failures);

}  // namespace vla
