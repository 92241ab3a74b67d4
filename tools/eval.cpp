// vla eval
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "framework/checkpoint.hpp"
#include "framework/file.hpp"
#include "framework/parallel.hpp"
#include "tools/command_line.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

struct Request {
  std::string run;
  TaskConfig data;
  Index examples = kFinalExamples;
  Index threads = 0;
  Index batch = 0;  // 0: the run's
  std::string device, json;
};

// Before examples are made that are too long for the model.
void check_positions(const Request& request, const TrainOptions& options, Index length,
                     Index places) {
  check(!options.positions || length <= places, "examples of ", length,
        " tokens are too long: ", request.run, " has learned positions for ", places,
        "; a model trained with --no-positions has no limit");
}

void write_json(const std::filesystem::path& path, const Evaluation& result, const Task& task) {
  nlohmann::ordered_json json = {{"version", VLA_VERSION},  {"accuracy", result.accuracy},
                                 {"loss", result.loss},     {"examples", result.examples},
                                 {"length", task.length()}, {"chance", task.chance()}};
  for (const Measure& measure : result.measures) json[measure.name] = measure.value;
  for (const Measure& measure : task.references()) json[measure.name] = measure.value;
  write_text(path, json.dump(2) + "\n");
}

// The model is that of the run; the task differs from the run's in what the command line names.
int run_eval(const CLI::App& app, const Request& request) {
  check(request.examples >= 1, "--examples ", request.examples, " is not allowed; 1 or more");
  check(request.batch >= 0, "--batch ", request.batch, " is not allowed; 0 or more");
  if (!request.json.empty()) check_replaceable(request.json);
  check(request.threads >= 0 && request.threads <= 4096, "--threads ", request.threads,
        " is not allowed; 0 to 4096");
  const RunDirectory run(request.run);
  const TrainOptions trained = run.options();
  TrainOptions options = trained;
  check_settings(options);
  check_same_run(options, run.checkpoint());
  const Index threads = request.threads > 0 ? request.threads : options.threads;

  std::vector<std::pair<std::string, std::string>> changes;
  TaskConfig given = request.data;
  visit_task_settings(given, [&](const std::string& name, auto& value, const char*) {
    const CLI::Option* option = app.get_option_no_throw("--" + name);
    if (option != nullptr && option->count() > 0) changes.emplace_back(name, setting_text(value));
  });
  visit_task_settings(options.data, [&](const std::string& name, auto& value, const char*) {
    for (const auto& [changed, text] : changes)
      if (changed == name) parse_setting(name, text, value);
  });
  check_settings(options);
  // The model does not depend on the files that it learned from, which may be gone.
  const bool other_text = trained.data.text != options.data.text;
  const bool other_data = other_text || trained.data.data != options.data.data;
  check(other_text || options.data.valid_share <= trained.data.valid_share, "--valid-share ",
        options.data.valid_share, " reaches into what the run learned from; ",
        trained.data.valid_share, " or less, or another --text");
  const std::unique_ptr<Task> task = make_task(options);
  if (!other_data) check_same_data(*make_task(trained), run.checkpoint());
  LanguageModel model =
      trained_model(trained, run.checkpoint(), device_for(request.device, options));
  if (threads > 0) set_thread_count(static_cast<int>(threads));
  check_positions(request, trained, task->length(), model.config().positions);
  const Evaluation result =
      evaluate(model, *task, request.examples, request.batch > 0 ? request.batch : options.batch,
               run_rng(options.seed, RunStream::final_evaluation));
  std::cout << fmt::format(
      "held-out accuracy {:.4f}, loss {:.4f}{} ({} examples of {} tokens, "
      "chance {:.3f}{})\n",
      result.accuracy, result.loss, measures_text(result.measures), result.examples, task->length(),
      task->chance(), measures_text(task->references()));
  if (!request.json.empty()) write_json(request.json, result, *task);
  return 0;
}

}  // namespace

Command eval_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("eval", "Evaluate the model of a run on fresh examples");
  app->footer("Example:\n  vla eval runs/first --pairs 16");
  const auto request = std::make_shared<Request>();
  app->add_option("run", request->run, "directory of the run")->type_name("RUN")->required();
  visit_task_settings(request->data,
                      [&](const std::string& name, auto& value, const char* description) {
                        if (name == "vocabulary") return;  // the model has its own
                        CLI::Option* option = add_setting(*app, name, value, description);
                        if (!option->get_default_str().empty()) option->default_str("as trained");
                      });
  app->get_option("--text")->type_name("FILE");
  app->get_option("--data")->type_name("DIRECTORY");
  add_setting(*app, "examples", request->examples, "how many examples");
  add_setting(*app, "batch", request->batch, "examples at a time; 0: as trained");
  app->add_option("--json", request->json, "write the result to this file too")->type_name("FILE");
  add_setting(*app, "threads", request->threads, "CPU threads; 0: as trained");
  add_setting(*app, "device", request->device, kDeviceHelp)
      ->default_str("as trained, or cpu where that is missing");
  return {app, [app, request] { return run_eval(*app, *request); }};
}

}  // namespace vla
