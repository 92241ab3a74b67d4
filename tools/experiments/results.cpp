#include "tools/experiments/results.hpp"

#include <algorithm>
#include <numeric>

namespace vla {
namespace {

namespace fs = std::filesystem;

std::vector<Found> found(const std::vector<ExperimentRun>& runs, const Failures& failures) {
  std::vector<Found> result;
  for (const ExperimentRun& run : runs) {
    std::optional<RunOutcome> outcome = run_outcome(run.directory);
    const auto failure = failures.find(run.directory.string());
    if (!outcome && failure != failures.end()) outcome = RunOutcome{.failure = failure->second};
    result.push_back({run, outcome});
  }
  return result;
}

CellResults results_of(const ExperimentPlan& plan, const ExperimentCell& cell,
                       const Failures& failures) {
  CellResults result{.cell = cell, .search = found(plan.search(cell), failures)};
  std::vector<RunOutcome> outcomes;
  for (const Found& one : result.search)
    if (one.outcome) outcomes.push_back(*one.outcome);
  if (outcomes.size() < result.search.size()) return result;
  if (const std::optional<std::size_t> best = best_of(outcomes)) {
    result.rate = rate_text(cell.group->rates[*best]);
    result.repeats = found(plan.repeats(cell, result.rate), failures);
  } else {
    result.search_failed = true;
  }
  return result;
}

// The row without its accuracies: what it has in common as trained and on other sizes.
ResultRow row_of(const CellResults& results) {
  ResultRow row{.setting = results.cell.group->name,
                .model = results.cell.model->name,
                .rate = results.rate,
                .seeds = results.cell.group->seeds,
                .search_failed = results.search_failed};
  double finished = 0;
  for (const Found& one : results.repeats) {
    if (!one.finished()) continue;
    ++finished;
    row.steps += static_cast<double>(one.outcome->steps);
    row.seconds += one.outcome->seconds;
    row.chance = one.outcome->chance;
    row.parameters = one.outcome->parameters;
    row.state_bytes = one.outcome->state_bytes;
  }
  if (finished > 0) row.steps /= finished, row.seconds /= finished;
  return row;
}

ResultRow trained_row(const CellResults& results) {
  ResultRow row = row_of(results);
  for (const Found& one : results.repeats) {
    if (one.finished()) row.accuracies.push_back(one.outcome->accuracy);
    row.failed += one.failed();
  }
  return row;
}

ResultRow evaluated_row(const ExperimentPlan& plan, const CellResults& results,
                        const NamedWords& evaluation, const Failures& failures) {
  ResultRow row = row_of(results);
  row.setting += ", at " + evaluation.name;
  for (const Found& one : results.repeats) {
    const fs::path file = plan.evaluation_file(one.run, evaluation);
    row.failed += one.failed() || kept_failure(file) || failures.contains(file.string());
    if (!fs::exists(file)) continue;
    const EvaluationOutcome outcome = evaluation_outcome(file);
    row.accuracies.push_back(outcome.accuracy);
    row.chance = outcome.chance;
  }
  return row;
}

}  // namespace

double ResultRow::mean() const {
  if (accuracies.empty()) return 0;
  return std::accumulate(accuracies.begin(), accuracies.end(), 0.0) /
         static_cast<double>(accuracies.size());
}
double ResultRow::lowest() const {
  return accuracies.empty() ? 0 : *std::ranges::min_element(accuracies);
}
double ResultRow::highest() const {
  return accuracies.empty() ? 0 : *std::ranges::max_element(accuracies);
}

std::vector<CellResults> all_results(const ExperimentPlan& plan, const Failures& failures) {
  std::vector<CellResults> results;
  for (const ExperimentCell& cell : plan.known_cells())
    results.push_back(results_of(plan, cell, failures));
  return results;
}

std::vector<ResultRow> result_rows(const ExperimentPlan& plan,
                                   const std::vector<CellResults>& results,
                                   const Failures& failures) {
  std::vector<ResultRow> rows;
  // Group by group, so that models that are compared stand together.
  for (auto begin = results.begin(); begin != results.end();) {
    const auto end = std::find_if(begin, results.end(), [&](const CellResults& other) {
      return other.cell.group != begin->cell.group;
    });
    for (auto it = begin; it != end; ++it) rows.push_back(trained_row(*it));
    for (const NamedWords& evaluation : begin->cell.group->evaluations)
      for (auto it = begin; it != end; ++it)
        rows.push_back(evaluated_row(plan, *it, evaluation, failures));
    begin = end;
  }
  return rows;
}

}  // namespace vla
