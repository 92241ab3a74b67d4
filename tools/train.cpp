// vla train
#include <unistd.h>

#include <iostream>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/session.hpp"

namespace vla {
namespace {

struct Request {
  TrainOptions options;
  Session session;
  std::string out, resume;
  CLI::Option* resume_given = nullptr;
};

// A resumed run keeps its settings: takes them from its directory, and refuses others, but for
// those that say where it is computed.
TrainOptions settings_of_run(const CLI::App& app, TrainOptions given, const RunDirectory& run) {
  TrainOptions options = run.options();
  std::vector<std::string> kept;
  visit_settings(options, [&](const std::string&, auto& value, const char*) {
    kept.push_back(setting_text(value));
  });
  auto next = kept.begin();
  std::vector<std::pair<std::string, std::string>> changes;
  visit_settings(given, [&](const std::string& name, auto& value, const char*) {
    const std::string text = setting_text(value), was = *next++;
    if (is_about_computing(name) && app.get_option("--" + name)->count() > 0)
      return changes.emplace_back(name, text), void();
    check(app.get_option("--" + name)->count() == 0 || text == was, "--", name, " ", text,
          " differs from the run's ", was, "; a resumed run keeps its settings");
  });
  visit_settings(options, [&](const std::string& name, auto& value, const char*) {
    for (const auto& [changed, text] : changes)
      if (changed == name) parse_setting(name, text, value);
  });
  return options;
}

int run_train(const CLI::App& app, Request& request) {
  Session& session = request.session;
  session.resume = request.resume_given->count() > 0;
  const bool out_given = app.get_option("--out")->count() > 0;
  check(!out_given || !request.out.empty(), "--out is empty; it needs the run's directory");
  check(!session.resume || !session.force, "--force and --resume exclude each other");
  check(request.resume.empty() || request.out.empty() || request.resume == request.out, "--resume ",
        request.resume, " and --out ", request.out, " name different runs");
  // A run that is resumed elsewhere finds the files again.
  for (std::string* path : {&request.options.data.text, &request.options.data.data})
    if (!path->empty()) *path = std::filesystem::absolute(*path).lexically_normal().string();
  session.directory = request.resume.empty() ? request.out : request.resume;
  if (session.resume) {
    check(!session.directory.empty(), "--resume needs the run's directory: --resume RUN");
    request.options = settings_of_run(app, request.options, RunDirectory(session.directory));
  } else if (session.directory.empty()) {
    session.directory = concatenate("runs/", request.options.task, "-", request.options.model,
                                    "-seed", request.options.seed);
  }
  if (!session.resume && app.get_option("--warm-up")->count() == 0)
    request.options.warm_up = usual_warm_up(request.options.steps);
  Progress progress(std::cout, isatty(STDOUT_FILENO) != 0);
  train(request.options, session, progress);
  return 0;
}

}  // namespace

Command train_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("train", "Train a model on a task");
  app->footer(
      "Example:\n"
      "  vla train --task mqar --model vla --pairs 8 --seed 1 --until 0.99 --out runs/first\n"
      "leaves config.json, metrics.jsonl and checkpoint.safetensors in runs/first.");
  const auto request = std::make_shared<Request>();
  TrainOptions& options = request->options;
  const auto adder = [app](const char* group) {
    return [app, group](const std::string& name, auto& value, const char* description) {
      add_setting(*app, name, value, description)->group(group);
    };
  };
  add_setting(*app, "task", options.task, "what to learn; `vla tasks` lists them")->group("Task");
  visit_task_settings(options.data, adder("Task"));
  visit_model_settings(options, adder("Model"));
  visit_training_settings(options, adder("Training"));
  app->get_option("--text")->type_name("FILE");
  app->get_option("--data")->type_name("DIRECTORY");
  app->get_option("--warm-up")->default_str("a tenth of --steps, 300 at most");
  app->add_option("--out", request->out, "directory of the run")
      ->type_name("RUN")
      ->default_str("runs/TASK-MODEL-seedSEED")
      ->take_last()
      ->group("Run");
  request->resume_given =
      app->add_option("--resume", request->resume, "go on with a run from its checkpoint")
          ->expected(0, 1)
          ->type_name("RUN")
          ->group("Run");
  app->add_flag("--force", request->session.force, "start anew where a run exists")->group("Run");
  add_setting(*app, "stop-at", request->session.stop_at,
              "leave the run at this step, to be resumed; 0: never")
      ->group("Run");
  return {app, [app, request] { return run_train(*app, *request); }};
}

}  // namespace vla
