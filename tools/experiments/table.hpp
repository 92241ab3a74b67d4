// The results of an experiment in writing: for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "tools/experiments/results.hpp"

namespace vla {

Table result_table(const std::vector<ResultRow>& rows);

/// Which columns have nothing but numbers below their head.
std::vector<bool> number_columns(const Table& table);

/// With columns of numbers to the right; as Markdown.
std::string aligned(const Table& table);
std::string markdown(const Table& table);

/// Writes table.md, table.csv and results.json to the experiment's directory, of all that it holds
/// and what is asked for; returns the table as text with what failed below it.
std::string write_results(const ExperimentPlan& plan, const Failures& failures);

}  // namespace vla
