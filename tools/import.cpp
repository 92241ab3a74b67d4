// vla import
#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "framework/checkpoint.hpp"
#include "tools/chosen_settings.hpp"
#include "tools/command_line.hpp"
#include "tools/exit_code.hpp"
#include "tools/interchange.hpp"
#include "tools/reference_names.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

struct Request {
  std::string file, out, config, names = "own";
  bool force = false;
  TrainOptions options;
};

// What the file itself says of its model, unless another file of settings is named.
TrainOptions settings_before(const Request& request, const TensorFile& file) {
  if (!request.config.empty()) return settings_in_file(request.config);
  const auto config = file.metadata.find("config");
  if (config != file.metadata.end()) return options_from_json(config->second, file.source);
  return are_reference_names(request.names) ? settings_of_reference(file, {}) : TrainOptions{};
}

// The model of the settings with the tables of the file, whose sizes are those of its task.
LanguageModel model_with(const TensorFile& ours, const TrainOptions& options, const Task& task) {
  const auto rows = [&](const char* table) {
    const Tensor& tensor = ours.at(table);
    check(tensor.rank() == 2, ours.source, ": ", table, " is ", tensor.shape(),
          "; a matrix is needed");
    return tensor.size(0);
  };
  const Index vocabulary = rows("tokens.weight");
  const Index positions = options.positions ? rows("positions.weight") : 0;
  check(vocabulary == task.vocabulary(), ours.source, " has ", vocabulary, " tokens, task ",
        options.task, " as it is set has ", task.vocabulary(), "; --vocabulary and others set it");
  check(!options.positions || positions >= task.length(), ours.source, " has ", positions,
        " positions, task ", options.task, " as it is set has ", task.length(), " tokens");
  LanguageModel model = make_model(options, vocabulary, positions);
  load_parameters(ours, parameters(model));
  return model;
}

int run_import(const CLI::App& app, const Request& request) {
  const bool reference = are_reference_names(request.names);
  const TensorFile file = read_tensors(request.file);
  const TrainOptions options =
      chosen_settings(app, request.options, settings_before(request, file),
                      request.config.empty() ? request.file : request.config);
  const std::unique_ptr<Task> task = make_task(options);
  LanguageModel model =
      model_with(reference ? from_reference(options, file) : file, options, *task);
  const RunDirectory run(request.out);
  run.check_free(request.force);
  run.create(options);
  // As a run that has not begun to learn: an optimiser without a step, the first batch to come.
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(options, parameters(model));
  save_checkpoint(run.last_checkpoint(), parameters(model), optimizer.get(),
                  {.random = {{"batches", run_rng(options.seed, RunStream::batches).state()}},
                   .notes = {{"config", to_json(options)}, {"data", task->fingerprint()}}});
  std::cout << fmt::format("{} parameters of {} for {} in {}\n", parameter_count(model),
                           options.model, options.task, request.out);
  return kDone;
}

}  // namespace

Command import_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("import", "Make a run of parameters from another program");
  app->footer(
      std::string(
          "Example:\n"
          "  vla import model.safetensors --out runs/other\n"
          "takes what `vla export` wrote; `vla eval`, `generate` and `inspect` then work with "
          "runs/other.\n"
          "A file without settings in its metadata needs those of the model: --config, or words.\n"
          "  vla import tiny_lm.safetensors --names reference --heads 4 --task mqar --pairs 8 "
          "--out "
          "runs/v3\n"
          "takes a state_dict of TinyLM in notebook 07 of the public PyTorch reference, as "
          "safetensors'\n"
          "save_model writes it. Model and sizes follow from names and shapes, but not the heads. "
          "Its\n"
          "models are ") +
      reference_models() + " here; others of the reference are not mapped.");
  const auto request = std::make_shared<Request>();
  app->add_option("file", request->file, "the file: .safetensors or .npz")
      ->type_name("FILE")
      ->required();
  app->add_option("--out", request->out, "directory of the run")
      ->type_name("RUN")
      ->required()
      ->take_last();
  add_setting(*app, "names", request->names, kNamesHelp);
  app->add_option("--config", request->config, "settings in the form of a run's config.json")
      ->type_name("FILE")
      ->take_last();
  app->add_flag("--force", request->force, "start anew where a run exists");
  TrainOptions& options = request->options;
  const auto adder = [app](const char* group) {
    return [app, group](const std::string& name, auto& value, const char* description) {
      add_setting(*app, name, value, description)->default_str("")->group(group);
    };
  };
  add_setting(*app, "task", options.task, "what it is evaluated on")->group("Task");
  visit_task_settings(options.data, adder("Task"));
  visit_model_settings(options, adder("Model"));
  return {app, [app, request] { return run_import(*app, *request); }};
}

}  // namespace vla
