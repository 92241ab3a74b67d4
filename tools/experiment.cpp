// vla experiment
#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/exit_code.hpp"
#include "tools/experiments/driver.hpp"

namespace vla {
namespace {

struct Request {
  std::string name;
  ExperimentOptions options;
};

void list_experiments() {
  for (const Experiment& experiment : experiments())
    std::cout << fmt::format("{:<20}  {}\n", experiment.name, experiment.description);
}

int run_experiment_command(const Request& request) {
  if (request.name.empty()) {
    list_experiments();
    return 0;
  }
  const ExperimentPlan plan(find_experiment(request.name), request.options);
  if (request.options.dry_run) {
    for (const Words& command : remaining_commands(plan))
      std::cout << command_text(command) << "\n";
    return 0;
  }
  if (run_experiment(plan, std::cout)) return kDone;
  return CatchInterrupts::interrupted() ? exit_code_of_signal(CatchInterrupts::signal()) : kFailed;
}

}  // namespace

Command experiment_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("experiment", "Train and compare models as an experiment says");
  app->footer(
      "Example:\n"
      "  vla experiment mqar-capacity --quick\n"
      "Without a name it lists the experiments. For each model it tries the experiment's learning\n"
      "rates with one seed and trains at the best one with further seeds, several runs at a time.\n"
      "In OUT/NAME (OUT/NAME-quick) it leaves table.md, table.csv, results.json and the directory\n"
      "of every run. What is there is not done again: an experiment that was interrupted goes on\n"
      "with the same command. Exit code 1: something failed that may succeed when it is tried\n"
      "again; 130: Ctrl-C.");
  const auto request = std::make_shared<Request>();
  ExperimentOptions& options = request->options;
  app->add_option("name", request->name, "the experiment")->type_name("NAME");
  add_setting(*app, "quick", options.quick, "small sizes and few steps: under two minutes");
  add_setting(*app, "device", options.device, kDeviceHelp);
  add_setting(*app, "precision", options.precision,
              "on CUDA, of trainings: float32; tf32 in matrix products; or bf16, for activations");
  add_setting(*app, "graph", options.graph, "on CUDA: capture a step once and replay it");
  add_setting(*app, "jobs", options.jobs, "runs at a time; 0: one per core, on CUDA 4");
  add_setting(*app, "settings", options.settings,
              "only these rows of the table, names with commas between");
  add_setting(*app, "models", options.models, "only these, names with commas between");
  add_setting(*app, "steps", options.steps,
              "of every run, to try an experiment out; 0: what it says");
  app->add_option("--out", options.out, "where the results of experiments are")
      ->type_name("OUT")
      ->capture_default_str()
      ->take_last();
  app->add_flag("--dry-run", options.dry_run, "print the commands that are still to be run");
  return {app, [request] { return run_experiment_command(*request); }};
}

}  // namespace vla
