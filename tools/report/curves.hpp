// Loss and accuracy of trainings against the step.
#pragma once

#include "tools/report/page.hpp"
#include "tools/report/run_groups.hpp"

namespace vla {

/// Two figures: mean and band over the seeds, as far as all of them have a report, and a ring for
/// the held-out evaluation at the end of each. `title` is added to theirs. Two more for every
/// kMostCurves further groups.
void add_curves(Page& page, const std::string& title, const std::vector<SeedGroup>& groups);

}  // namespace vla
