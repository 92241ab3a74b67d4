// vla tasks, vla models
#include <fmt/format.h>

#include <iostream>

#include "tools/command_line.hpp"

namespace vla {

Command tasks_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("tasks", "List the tasks, with sizes as they start");
  app->footer("Example:\n  vla tasks");
  return {app, [] {
            std::cout << fmt::format("{:<10}{:>11}{:>8}{:>8}  {}\n", "task", "vocabulary", "length",
                                     "chance", "what it is");
            for (const TaskKind& kind : task_kinds()) {
              const std::unique_ptr<Task> task = kind.make({});
              std::cout << fmt::format("{:<10}{:>11}{:>8}{:>8.4f}  {}\n", kind.name,
                                       task->vocabulary(), task->length(), task->chance(),
                                       kind.description);
            }
            return 0;
          }};
}

Command models_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("models", "List the models");
  app->footer("Example:\n  vla models");
  return {app, [] {
            for (const ModelKind& kind : model_kinds())
              std::cout << fmt::format("{:<10}  {}\n", kind.name, kind.description);
            return 0;
          }};
}

}  // namespace vla
