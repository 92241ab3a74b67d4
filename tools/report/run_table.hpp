// Finished and unfinished runs in a table.
#pragma once

#include "tools/experiments/table.hpp"
#include "tools/run.hpp"

namespace vla {

/// A row a run below the head. Accuracy and loss are the held-out ones of a finished run; of
/// another, those of its last report.
Table run_table(const std::vector<RunDirectory>& runs);

/// How many of its columns, the first ones, are words.
inline constexpr std::size_t kWordColumns = 2;

}  // namespace vla
