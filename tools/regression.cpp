#include "tools/regression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/diverged.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/optim/schedule.hpp"
#include "framework/parallel.hpp"
#include "models/vector_model.hpp"
#include "tools/stopwatch.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// Those that a model of vectors and its training do not have.
constexpr std::string_view kOthers[] = {"positions", "tied-head",        "precision", "graph",
                                        "until",     "checkpoint-every", "keep",      "keep-best"};

VectorModel make_vector_model(const RegressionRun& run) {
  const auto& [task, options, examples] = run;
  const AttentionOptions& attention = options.mixer.attention;
  Rng rng = run_rng(options.seed, RunStream::weights);
  return VectorModel({.inputs = task.dimensions + 1,
                      .body = {.width = attention.width,
                               .layers = options.layers,
                               .hidden = options.hidden,
                               .deviation = attention.deviation,
                               .dtype = attention.dtype}},
                     mixer_factory(options.model, options.mixer), rng);
}

// Foretold y (B, T).
Var foretold(VectorModel& model, const RegressionBatch& batch, DType dtype, Device device) {
  const Var y = model(Var(batch.inputs().to(dtype).to(device)));
  return reshape(y, {batch.y.size(0), batch.y.size(1)});
}

// The errors over all batches, which may differ in size.
void add(const std::vector<double>& errors, double share, std::vector<double>& sum) {
  sum.resize(errors.size());
  for (std::size_t t = 0; t < errors.size(); ++t) sum[t] += share * errors[t];
}

}  // namespace

bool is_for_regression(std::string_view name) {
  return std::ranges::find(kOthers, name) == std::end(kOthers);
}

RegressionErrors run_regression(const RegressionRun& run, Progress& progress) {
  const TrainOptions& options = run.options;
  check_settings(options);
  check(run.examples >= 1, "--examples ", run.examples, " is not allowed; 1 or more");
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  const Device device = parse_device(options.device);
  const DType dtype = options.mixer.attention.dtype;
  const Regression task(run.task);
  VectorModel model = make_vector_model(run);
  move_to(model, device);
  AdamW optimizer(parameters(model), {.rate = options.rate, .weight_decay = options.decay});
  const Schedule schedule{Schedule::Kind::cosine, options.warm_up, options.steps, 0};
  Rng batches = run_rng(options.seed, RunStream::batches);
  Stopwatch watch;
  double seconds = 0, sum = 0;
  Index summed = 0;
  for (Index step = 0; step < options.steps; ++step) {
    const RegressionBatch batch = task.sample(options.batch, batches);
    Tape tape;
    const Var loss =
        mean(square(foretold(model, batch, dtype, device) - Var(batch.y.to(dtype).to(device))));
    const double value = loss.value().item();
    check_not_diverged(std::isfinite(value), "loss is ", value, " at step ", step + 1,
                       ": training diverged; try a lower --rate");
    optimizer.step(tape.backward(loss), {.rate_share = schedule(step), .clip = options.clip});
    sum += value;
    ++summed;
    seconds += watch.lap();
    if ((step + 1) % options.report_every == 0 || step + 1 == options.steps) {
      progress.report(fmt::format("step {:>5}/{}  squared error {:.4f}  {} left", step + 1,
                                  options.steps, sum / static_cast<double>(summed),
                                  clock_text(seconds / static_cast<double>(step + 1) *
                                             static_cast<double>(options.steps - step - 1))));
      sum = 0;
      summed = 0;
    }
  }

  const PauseRecording pause;
  Rng held_out = run_rng(options.seed, RunStream::final_evaluation);
  const double noise = std::max(run.task.noise, kLeastNoise);
  RegressionErrors errors;
  for (Index done = 0; done < run.examples; done += options.batch) {
    const RegressionBatch batch =
        task.sample(std::min(options.batch, run.examples - done), held_out);
    const double share = static_cast<double>(batch.y.size(0)) / static_cast<double>(run.examples);
    add(mean_squared_errors(foretold(model, batch, dtype, device).value(), batch.y), share,
        errors.model);
    add(mean_squared_errors(ridge_predictions(batch, noise * noise), batch.y), share, errors.ridge);
    add(mean_squared_errors(kalman_predictions(batch, run.task), batch.y), share, errors.kalman);
  }
  return errors;
}

}  // namespace vla
