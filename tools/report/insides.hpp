// What a layer of a trained model does while it reads an example.
#pragma once

#include <vector>

#include "tools/report/page.hpp"
#include "tools/run.hpp"

namespace vla {

struct InsidesOptions {
  Index layer = 0;
  Index head = -1;  ///< -1: all, and the maps of the first
};

/// A section for each of the first few runs, one of each model; a run that cannot be looked into is
/// a line that says why. Throws Error for a layer or head that one of them does not have.
void add_insides(Page& page, const std::vector<RunDirectory>& runs, const InsidesOptions& options);

}  // namespace vla
