// Runs an experiment: several child processes at a time, until all that it asks for is there.
#pragma once

#include <iosfwd>

#include "tools/experiments/plan.hpp"

namespace vla {

/// Runs what is missing of the experiment and says what came of each run; the table is written
/// anew after each of them. What is in the experiment's directory is not done again, and a run that
/// was cut off goes on. A run that fails is a failure in the table. Returns whether it came to its
/// end: not when it was interrupted, or when something failed that may yet succeed.
bool run_experiment(const ExperimentPlan& plan, std::ostream& out);

/// The commands that are still to be run, with BEST for a rate that is not known yet.
std::vector<Words> remaining_commands(const ExperimentPlan& plan);

}  // namespace vla
