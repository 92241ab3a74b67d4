// Runs that differ in nothing but their seed, and what tells others apart.
#pragma once

#include <string>
#include <vector>

#include "tools/run.hpp"

namespace vla {

struct SeedGroup {
  std::string label;  ///< the model, and where that does not tell groups apart what does
  std::string model;
  std::vector<RunDirectory> runs = {};
};

/// Groups that learn the same task.
struct TaskGroups {
  std::string task;  ///< with its settings
  std::vector<SeedGroup> groups = {};
};

/// In the order in which they are given. Where and how a run was computed makes no difference.
std::vector<TaskGroups> grouped(const std::vector<RunDirectory>& runs);

/// The settings that seeds share and that are not the usual ones, as words of `vla train`.
std::string settings_text(const TrainOptions& options);

}  // namespace vla
