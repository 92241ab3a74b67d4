// The tasks in one header, and by name.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tasks/aan.hpp"
#include "tasks/ancestor.hpp"
#include "tasks/associative_recall.hpp"
#include "tasks/cifar10.hpp"
#include "tasks/copy.hpp"
#include "tasks/delayed_recall.hpp"
#include "tasks/imdb.hpp"
#include "tasks/kinship.hpp"
#include "tasks/listops.hpp"
#include "tasks/mqar.hpp"
#include "tasks/pathfinder.hpp"
#include "tasks/regression.hpp"
#include "tasks/retrieval.hpp"
#include "tasks/selective_copy.hpp"
#include "tasks/task.hpp"
#include "tasks/text.hpp"

namespace vla {

/// The settings of all tasks, each of which uses some of them (TaskKind::settings). Their meaning
/// stands with the options of each task. 0 is the task's own choice wherever 0 would not do.
struct TaskConfig {
  std::string form = "notebook";
  Index pairs = 0;
  Index vocabulary = 0;
  Index length = 0;
  double power = 0.01;
  Index passes = 1;
  bool random_filler = true;
  Index queries = 0;
  bool repeat_queries = false;
  Index distractors = 0;
  Index prefix = 0;
  Index shortest_prefix = 0;
  bool show_answers = false;
  Index delay = 0;
  std::string text = {};
  double valid_share = 0.1;
  Index items = 0;
  Index depth = 0;
  Index arguments = 0;
  Index size_above = 0;
  std::string data = {};
  std::string held_out = "val";
  Index chain = 0;
  Index shortest_chain = 0;
  Index held_out_chain = 0;
  Index contour = 0;
};

/// A task by its name.
struct TaskKind {
  std::string_view name;
  std::string_view description;
  /// The members of TaskConfig that `make` reads, with '-' for '_'.
  std::span<const std::string_view> settings;
  std::unique_ptr<Task> (*make)(const TaskConfig& config);
  /// The one of the settings that must be given; empty: none.
  std::string_view required = {};
  /// Makes `count` examples and writes them to a folder, in the files that `data` reads. Throws
  /// Error if that fails. Null: the task has no such files.
  void (*write)(const TaskConfig& config, const std::filesystem::path& folder, Index count,
                Rng rng) = nullptr;
};

/// The tasks that can be asked for by name.
std::span<const TaskKind> task_kinds();
/// The one of this name. Throws Error, with the names there are, for another.
const TaskKind& task_kind(std::string_view name);

/// Makes the task `kind`; settings that it does not use are ignored. Throws Error for an unknown
/// kind and for settings that do not fit together, with what is allowed.
std::unique_ptr<Task> make_task(std::string_view kind, const TaskConfig& config = {});

}  // namespace vla
