// vla export
#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/exit_code.hpp"
#include "tools/interchange.hpp"
#include "tools/reference_names.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

struct Request {
  std::string run, out, names = "own";
};

int run_export(const Request& request) {
  const bool reference = are_reference_names(request.names);
  check_writable_tensors(request.out);
  const RunDirectory run(request.run);
  const TrainOptions options = run.options();
  LanguageModel model = trained_model(options, run.checkpoint(), Device{});
  TensorFile file{.metadata = {{"config", to_json(options)}, {"names", request.names}}};
  if (reference)
    file.tensors = to_reference(options, parameters(model));
  else
    for (const Parameter& parameter : parameters(model))
      file.tensors.emplace_back(parameter.name, parameter.variable.value());
  write_tensors(request.out, file);
  std::cout << fmt::format("{} numbers in {} tensors of {} in {}\n", parameter_count(model),
                           file.tensors.size(), options.model, request.out);
  return kDone;
}

}  // namespace

Command export_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("export", "Write the parameters of a run for other programs");
  app->footer(
      std::string("Example:\n"
                  "  vla export runs/first --out model.safetensors\n"
                  "writes them under our names (or into model.npz, for numpy); the run's settings "
                  "are in the\n"
                  "metadata, but for .npz, which has none.\n"
                  "  vla export runs/v3 --out model.safetensors --names reference\n"
                  "names them as a state_dict of TinyLM in notebook 07 of the public PyTorch "
                  "reference, with\n"
                  "max_seq_len the rows of pos.weight. It has the models ") +
      reference_models() +
      " (its vla is\n"
      "vla-v3 here) with their usual settings and without convolution, but not exact VLA. The\n"
      "models of its src folder (LRAModel) are not mapped. vla-v3 is the same but for very short\n"
      "keys: it divides by a norm of at least 1e-6, the reference of at least 1e-12.");
  const auto request = std::make_shared<Request>();
  app->add_option("run", request->run, "directory of the run")->type_name("RUN")->required();
  app->add_option("--out", request->out, "the file: .safetensors or .npz")
      ->type_name("FILE")
      ->required()
      ->take_last();
  add_setting(*app, "names", request->names, kNamesHelp);
  return {app, [request] { return run_export(*request); }};
}

}  // namespace vla
