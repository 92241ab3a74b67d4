// vla inspect gradients and graph: a training step of a trained run.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <iostream>

#include "framework/checkpoint.hpp"
#include "framework/file.hpp"
#include "framework/gradient_report.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/tape_picture.hpp"
#include "tools/children.hpp"
#include "tools/inspect.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

// The model of a run with examples it could be trained on.
struct Step {
  TrainOptions options;
  std::uint64_t seed;
  LanguageModel model;
  Batch batch;

  Var loss() { return cross_entropy(model(batch.tokens), batch.targets); }
};

Step step_of(const InspectRequest& request, const RunDirectory& run, Index examples) {
  const TrainOptions options = run.options();
  Step step{.options = options,
            .seed = request.seed.value_or(options.seed),
            .model = trained_model(options, run.checkpoint(), Device{}),
            .batch = {}};
  const std::unique_ptr<Task> task = make_task(options);
  check_same_data(*task, run.checkpoint());
  Rng rng = run_rng(step.seed, RunStream::batches);
  step.batch = task->sample(examples > 0 ? examples : options.batch, rng);
  return step;
}

std::string head(const InspectRequest& request, const Step& step) {
  const Shape& shape = step.batch.tokens.shape();
  return fmt::format("{} of {} on {}, {} {} of {} tokens, seed {}", request.view,
                     step.options.model, step.options.task, shape[0],
                     shape[0] == 1 ? "example" : "examples", shape[1], step.seed);
}

// Draws `dot` with the program of that name; says what came of it.
std::string drawn(const fs::path& dot, const fs::path& svg) {
  constexpr auto kLongest = std::chrono::seconds(60);
  const fs::path log = svg.string() + ".log";
  const ToolEnd end = run_tool({"dot", "-Tsvg", "-o", svg.string(), dot.string()}, log, kLongest);
  std::string reason = fs::exists(log) ? read_text(log) : "";
  reason = reason.substr(0, reason.find('\n'));
  std::error_code ignored;
  fs::remove(log, ignored);
  switch (end) {
    case ToolEnd::done:
      return "wrote " + svg.string() + "\n";
    case ToolEnd::missing:
      return "no " + svg.string() +
             ": the program dot, which draws it, is missing (Debian's graphviz)\n";
    case ToolEnd::failed:
      return "no " + svg.string() + ": dot failed: " + reason + "\n";
    case ToolEnd::late:
      break;
  }
  return fmt::format("no {}: dot took more than {} s\n", svg.string(), kLongest.count());
}

}  // namespace

int inspect_gradients(const InspectRequest& request) {
  const RunDirectory run(request.run);
  Step step = step_of(request, run, 0);
  if (!request.out.empty()) make_folder(request.out);
  const std::vector<Parameter> all = parameters(step.model);
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(step.options, all);
  load_checkpoint(run.checkpoint(), all, optimizer.get());
  Tape tape;
  const Var loss = step.loss();
  const Gradients gradients = tape.backward(loss);
  GradientReport report(all, gradients);
  const double norm = global_norm(all, gradients);
  optimizer->step(gradients, {.clip = step.options.clip});
  report.after_step();
  std::cout << head(request, step)
            << fmt::format("; loss {:.4g}, norm {:.4g}, a step of {} at rate {:.3g}\n\n",
                           loss.value().item(), norm, step.options.optimizer, step.options.rate)
            << report.table();
  if (request.out.empty()) return 0;
  const fs::path file = fs::path(request.out) / "gradients.csv";
  write_text(file, report.csv());
  std::cout << "wrote " << file.string() << "\n";
  return 0;
}

int inspect_graph(const InspectRequest& request) {
  Step step = step_of(request, RunDirectory(request.run), 1);
  if (!request.out.empty()) make_folder(request.out);
  parameters(step.model);  // gives them their names
  Tape tape;
  const Var loss = step.loss();
  const TapeView view = tape.view();
  std::cout << head(request, step) << fmt::format("; {} ops\n\n", view.nodes.size())
            << to_text(view) << "\n"
            << memory_table(view);
  if (request.out.empty()) return 0;
  const fs::path folder = request.out, dot = folder / "graph.dot";
  write_text(dot, to_dot(view));
  std::cout << "wrote " << dot.string() << "\n" << drawn(dot, folder / "graph.svg");
  return 0;
}

}  // namespace vla
