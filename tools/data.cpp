// vla data
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "tools/command_line.hpp"

namespace vla {
namespace {

struct Request {
  TrainOptions options;  // of which the task counts
  std::string out;
  Index count = 100000;
  std::uint64_t seed = 1;
  bool force = false;
};

std::string tasks_with_files() {
  std::string names;
  for (const TaskKind& kind : task_kinds())
    if (kind.write != nullptr) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  return names;
}

// Whether examples that are written have this setting; those that are read have some of their own.
bool is_for_files(std::string_view name) {
  return name != "data" && name != "held-out" &&
         std::ranges::any_of(task_kinds(), [&](const TaskKind& kind) {
           return kind.write != nullptr &&
                  std::ranges::find(kind.settings, name) != kind.settings.end();
         });
}

int run_data(const Request& request) {
  const TaskKind& kind = task_kind(request.options.task);
  check(kind.write != nullptr, "task ", kind.name, " has no files; allowed: ", tasks_with_files());
  check_settings(request.options);
  std::error_code ignored;
  check(request.force || !std::filesystem::exists(request.out, ignored) ||
            std::filesystem::is_empty(request.out, ignored),
        request.out, " is there and not empty; --force writes over its files");
  kind.write(request.options.data, request.out, request.count, Rng(request.seed));
  std::cout << fmt::format("{} examples of {} in {}\n", request.count, kind.name, request.out);
  return 0;
}

}  // namespace

Command data_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("data", "Write made examples of a task to files");
  app->footer(
      "Example:\n  vla data --task listops --out data/listops --count 100000\n"
      "writes the files that `vla train --task listops --data data/listops` reads, in the form of\n"
      "the original data set, whose own files are read likewise.");
  const auto request = std::make_shared<Request>();
  add_setting(*app, "task", request->options.task, "whose examples: " + tasks_with_files())
      ->required()
      ->default_str("");
  visit_task_settings(request->options.data,
                      [&](const std::string& name, auto& value, const char* description) {
                        if (is_for_files(name)) add_setting(*app, name, value, description);
                      });
  app->add_option("--out", request->out, "folder of the files")->type_name("DIRECTORY")->required();
  add_setting(*app, "count", request->count, "how many examples");
  add_setting(*app, "seed", request->seed, "seed of the examples");
  app->add_flag("--force", request->force, "write over files that are there");
  return {app, [request] { return run_data(*request); }};
}

}  // namespace vla
