// Figures of what experiments have measured.
#pragma once

#include "tools/report/page.hpp"
#include "tools/report/results_file.hpp"

namespace vla {

/// Of `regression` the errors of every place, of `stability` norms over time and the error of
/// streaming; of another experiment nothing. Throws Error, naming the file, for one that is not as
/// its command writes it.
void add_measured_figures(Page& page, const ResultsFile& experiment);

}  // namespace vla
