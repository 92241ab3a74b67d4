// The tasks in one header, and by name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tasks/mqar.hpp"
#include "tasks/task.hpp"

namespace vla {

/// Settings that every task understands or ignores. See MqarOptions for their meaning.
struct TaskConfig {
  std::string form = "notebook";
  Index pairs = 8;
  Index vocabulary = 128;
  Index length = 0;  ///< 0: the usual one of the task
  double power = 0.01;
  Index passes = 1;
  bool random_filler = true;
};

struct TaskKind {
  std::string_view name;
  std::string_view description;
  std::unique_ptr<Task> (*make)(const TaskConfig& config);
};

/// The tasks that can be asked for by name.
std::span<const TaskKind> task_kinds();

/// Makes the task `kind`. Throws Error for an unknown kind and for settings that do not fit
/// together, with what is allowed.
std::unique_ptr<Task> make_task(std::string_view kind, const TaskConfig& config = {});

}  // namespace vla
