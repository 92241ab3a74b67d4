// The views of `vla inspect`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

struct InspectRequest {
  std::string view, run;
  std::string out = {};                    ///< directory for files; empty: none
  Index layer = 0, head = -1, every = 1;   ///< of inspect_layer alone; head -1: all
  std::optional<std::uint64_t> seed = {};  ///< of the examples; none: the run's
};

/// What can be looked at.
std::vector<std::string_view> inspect_views();

/// Each prints to the standard output, writes its files, and returns the exit code. They throw
/// Error for a run without a checkpoint, for settings that do not fit it, and for files that cannot
/// be written.
///
/// Penalty, memory or attention of a layer at each token of an example.
int inspect_layer(const InspectRequest& request);
/// Gradients of the parameters on a batch, and what a step of the optimiser changes.
int inspect_gradients(const InspectRequest& request);
/// What a tape records of a step on one example, and the memory it keeps.
int inspect_graph(const InspectRequest& request);

}  // namespace vla
