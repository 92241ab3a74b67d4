// vla train
#include <unistd.h>

#include <iostream>
#include <memory>

#include "tools/chosen_settings.hpp"
#include "tools/command_line.hpp"
#include "tools/exit_code.hpp"
#include "tools/session.hpp"

namespace vla {
namespace {

struct Request {
  TrainOptions options;
  Session session;
  std::string config, out, resume;
  CLI::Option* resume_given = nullptr;
};

// A setting as the command line has it.
std::string as_words(const std::string& name, const std::string& text) {
  if (text == "true") return "--" + name;
  if (text == "false") return "--no-" + name;
  return "--" + name + " " + text;
}

// A resumed run keeps its settings: takes them from its directory, and refuses others, but for
// those that say where it is computed.
TrainOptions settings_of_run(const CLI::App& app, const TrainOptions& given,
                             const RunDirectory& run) {
  TrainOptions options = run.options();
  const SettingTexts kept = setting_texts(options), changes = given_settings(app, given);
  std::string different, words;
  for (const auto& [name, text] : changes) {
    if (is_about_computing(name) || text == kept.at(name)) continue;
    if (different.empty())
      different = concatenate("--", name, " ", text, " differs from the run's ", kept.at(name));
    words += as_words(name, text) + " ";
  }
  check(different.empty(), different,
        "; a resumed run keeps its settings, a new one may have others: vla train --config ",
        (run.path() / "config.json").string(), " ", words, "--out OTHER");
  set_settings(options, changes);
  return options;
}

int run_train(const CLI::App& app, Request& request) {
  Session& session = request.session;
  session.resume = request.resume_given->count() > 0;
  const bool out_given = app.get_option("--out")->count() > 0;
  check(!out_given || !request.out.empty(), "--out is empty; it needs the run's directory");
  check(!session.resume || !session.force, "--force and --resume exclude each other");
  check(!session.resume || request.config.empty(),
        "--config and --resume exclude each other: a resumed run keeps its settings");
  check(request.resume.empty() || request.out.empty() || request.resume == request.out, "--resume ",
        request.resume, " and --out ", request.out, " name different runs");
  session.ranks = Communicator::world();
  session.directory = request.resume.empty() ? request.out : request.resume;
  TrainOptions options;
  if (session.resume) {
    check(!session.directory.empty(), "--resume needs the run's directory: --resume RUN");
    make_paths_absolute(request.options);
    options = settings_of_run(app, request.options, RunDirectory(session.directory));
  } else {
    options =
        chosen_settings(app, request.options, settings_in_file(request.config), request.config);
    options.ranks = session.ranks.size();
    if (session.directory.empty())
      session.directory =
          concatenate("runs/", options.task, "-", options.model, "-seed", options.seed);
  }
  std::ostream nowhere(nullptr);
  const bool terminal = session.ranks.size() == 1 && isatty(STDOUT_FILENO) != 0;  // or mpirun's
  Progress progress(session.ranks.rank() == 0 ? std::cout : nowhere, terminal);
  const TrainResult result = train(options, session, progress);
  return result.signal == 0 ? kDone : exit_code_of_signal(result.signal);
}

}  // namespace

Command train_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("train", "Train a model on a task");
  app->footer(
      "Example:\n"
      "  vla train --task mqar --model vla --pairs 8 --seed 1 --until 0.99 --out runs/first\n"
      "leaves config.json, metrics.jsonl and checkpoint.safetensors in runs/first. Ctrl-C stops "
      "it\n"
      "after the step under way, with a checkpoint to --resume from (exit code 130); a second one\n"
      "at once.\n"
      "  vla train --config runs/first/config.json --seed 2 --out runs/second\n"
      "takes the same settings, but for what the command line names.\n"
      "  mpirun -n 4 vla train --batch 16 --out runs/third\n"
      "learns in four processes as one would with --batch 64, on GPUs each with one of its own if\n"
      "there are as many.");
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
  app->add_option("--config", request->config,
                  "take settings from this file, in the form of a run's config.json, all or some")
      ->type_name("FILE")
      ->take_last()
      ->group("Run");
  app->add_option("--out", request->out, "directory of the run")
      ->type_name("RUN")
      ->default_str("runs/TASK-MODEL-seedSEED")
      ->take_last()
      ->group("Run");
  request->resume_given =
      app->add_option("--resume", request->resume,
                      "go on with a run from its checkpoint, or from one that it kept")
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
