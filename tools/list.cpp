// vla tasks, vla models
#include <fmt/format.h>

#include <iostream>

#include "tools/command_line.hpp"

namespace vla {

Command tasks_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("tasks", "List the tasks, with sizes as they start");
  app->footer("Example:\n  vla tasks");
  return {app, [] {
            const char* row = "{:<20}{:>10}{:>8}{:>8}  {}\n";
            std::cout << fmt::format(fmt::runtime(row), "task", "vocabulary", "length", "chance",
                                     "what it is, and its settings");
            for (const TaskKind& kind : task_kinds()) {
              if (kind.required.empty()) {
                const std::unique_ptr<Task> task = kind.make({});
                std::cout << fmt::format(fmt::runtime(row), kind.name, task->vocabulary(),
                                         task->length(), fmt::format("{:.4f}", task->chance()),
                                         kind.description);
              } else {
                std::cout << fmt::format(fmt::runtime(row), kind.name, "-", "-", "-",
                                         kind.description);
              }
              std::string settings;
              for (std::string_view name : kind.settings)
                settings += (settings.empty() ? "--" : " --") + std::string(name);
              std::cout << fmt::format("{:>48}{}\n", "", settings);
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
