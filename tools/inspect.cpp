// vla inspect
#include "tools/inspect.hpp"

#include <fmt/format.h>

#include <memory>

#include "tools/command_line.hpp"

namespace vla {
namespace {

int run_inspect(const InspectRequest& request) {
  const bool gradients = request.view == "gradients";
  if (!gradients && request.view != "graph") return inspect_layer(request);
  check(request.layer == 0 && request.head == -1 && request.every == 1, "inspect ", request.view,
        ": --layer, --head and --every are of penalty, memory and "
        "attention");
  return gradients ? inspect_gradients(request) : inspect_graph(request);
}

}  // namespace

Command inspect_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "inspect", "Look into a trained model: penalty, memory, attention, gradients, graph");
  app->footer(
      "Example:\n  vla inspect penalty runs/first --layer 1 --every 10 --out inside\n"
      "  vla inspect gradients runs/first --out inside\n"
      "Prints the smallest, middle and largest number over time of each head. With --out also\n"
      "NAME.csv, a row a token and head, and NAME.safetensors, which has all heads and, for "
      "memory\n"
      "and attention, the T x T maps. What the quantities are: models/README.md, Diagnostics.\n"
      "gradients prints those of every parameter and layer on a batch of the run's size, and the\n"
      "change by the optimiser's next step at the run's highest rate, which is not kept; with\n"
      "--out also gradients.csv. graph prints the tape of a step on one example and its memory by\n"
      "op; with --out also graph.dot, and graph.svg where the program dot is found (Debian's\n"
      "graphviz). Both: framework/README.md, Looking into gradients.");
  const auto request = std::make_shared<InspectRequest>();
  const auto seed = std::make_shared<std::uint64_t>(0);
  app->add_option("view", request->view, fmt::format("{}", fmt::join(inspect_views(), ", ")))
      ->type_name("VIEW")
      ->required();
  app->add_option("run", request->run, "directory of the run")->type_name("RUN")->required();
  add_setting(*app, "layer", request->layer, "which layer, from 0");
  add_setting(*app, "head", request->head, "only this head, from 0; -1: all");
  add_setting(*app, "every", request->every, "tokens between two eigenvalue computations");
  add_setting(*app, "out", request->out, "directory for the files; none: no files");
  const CLI::Option* given =
      add_setting(*app, "seed", *seed, "of the example")->default_str("as trained");
  return {app, [request, seed, given] {
            if (given->count() > 0) request->seed = *seed;
            return run_inspect(*request);
          }};
}

}  // namespace vla
