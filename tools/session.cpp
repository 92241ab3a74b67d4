#include "tools/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "framework/checkpoint.hpp"
#include "framework/diverged.hpp"
#include "tools/children.hpp"
#include "tools/stopwatch.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// Sums over the steps of a session or of the stretch between two reports.
struct Meter {
  Index steps = 0;
  double seconds = 0;
  std::vector<Tensor> losses = {};  // where the model is, not to be read before they are wanted

  void add(double step_seconds) {
    ++steps;
    seconds += step_seconds;
  }
  /// Reads the losses, of the steps up to `last`: the mean of those that are finite, or `otherwise`
  /// where none is. Diverged if --non-finite is throw and one is not, or if there are many and none
  /// is.
  double mean_loss(const Training& training, Index last, double otherwise) const {
    constexpr std::size_t kMany = 50;
    training.wait();
    double sum = 0;
    Index step = last - static_cast<Index>(losses.size()), finite = 0;
    for (const Tensor& loss : losses) {
      const double value = loss.item();
      training.check_finite(value, ++step);
      if (!std::isfinite(value)) continue;
      sum += value;
      ++finite;
    }
    check_not_diverged(losses.size() < kMany || finite > 0, "no loss of the ", losses.size(),
                       " steps up to ", last, " is finite: training diverged");
    return finite == 0 ? otherwise : sum / static_cast<double>(finite);
  }
  double per_second(Index tokens_per_step) const {
    return seconds > 0 ? static_cast<double>(steps * tokens_per_step) / seconds : 0;
  }
};

// The run as the loop of `train` needs it: what to measure, to say and to write.
class Run {
 public:
  Run(const TrainOptions& options, const Session& session, Progress& progress)
      : options_(options), session_(session), directory_(session.directory), progress_(progress) {}

  /// Makes the training, or takes it up again.
  void open();
  /// Learns up to step `last`, or until it is interrupted; returns whether the accuracy asked for
  /// was reached.
  bool learn(Index last);
  Metrics finish();

  Index steps() const { return training_->steps(); }
  bool leads() const { return session_.ranks.rank() == 0; }
  bool written() const { return leads() && !session_.directory.empty(); }
  int signal() const { return signal_; }
  const RunDirectory& directory() const { return directory_; }

 private:
  /// Makes the directory of a new run: after a first step, which shows that its sizes are possible.
  void begin();
  /// Makes the training from the checkpoint that was asked for; an Error names another that is good
  /// if this one is damaged.
  void load();
  bool reached(double accuracy) const { return options_.until > 0 && accuracy >= options_.until; }
  /// Returns the held-out accuracy.
  double report(const Training::Step& last_step, const Meter& stretch);
  /// What rank 0 does of it.
  void evaluate(const Training::Step& last_step, const Meter& stretch);
  /// A signal that some rank caught, 0 if none.
  bool interrupted() {
    signal_ = static_cast<int>(session_.ranks.largest(CatchInterrupts::signal()));
    return signal_ != 0;
  }
  void save();
  /// Numbers that some of the lines of metrics.jsonl have, by name.
  static void add(const std::vector<Measure>& measures, Metrics& line);
  std::string line(double loss, double tokens_per_second) const;

  const TrainOptions& options_;
  const Session& session_;
  RunDirectory directory_;
  Progress& progress_;
  std::unique_ptr<Training> training_;
  Meter total_;
  Stopwatch watch_;
  double elapsed_ = 0;  // training and evaluation in this session
  double earlier_ = 0;  // the same in the sessions before, up to their last report that is kept
  int signal_ = 0;
  double accuracy_ = 0;
  double best_ = -1;      // accuracy of the report that best.safetensors is of
  double loss_ = 0;       // of the last report; on the CPU of the last step
  std::string measures_;  // of the last report, as text
};

void Run::open() {
  const bool goes_on = session_.resume && (directory_.names_checkpoint() ||
                                           std::filesystem::exists(directory_.checkpoint()));
  if (goes_on)
    load();
  else
    training_ = std::make_unique<Training>(options_, session_.ranks);
  if (session_.resume) {
    if (!goes_on)
      progress_.say(fmt::format("{} has no checkpoint yet: it starts from step 0",
                                directory_.path().string()));
    const auto first = static_cast<Index>(session_.ranks.broadcast(static_cast<double>(steps())));
    check(steps() == first, directory_.path().string(), " is at step ", steps(),
          " here and at step ", first, " for rank 0; all ranks need the same files");
    if (leads()) directory_.keep_metrics_until(steps());
    const std::vector<Metrics> before = leads() ? directory_.metrics() : std::vector<Metrics>{};
    for (const Metrics& line : before) {
      if (line.accuracy > best_ && line.step == steps() && options_.keep_best)
        directory_.keep_best(directory_.checkpoint());  // the run may have ended before that
      best_ = std::max(best_, line.accuracy);
    }
    if (!before.empty()) {
      accuracy_ = before.back().accuracy;
      const auto seconds = before.back().more.find("seconds");
      if (seconds != before.back().more.end()) earlier_ = seconds->second;
    }
    accuracy_ = session_.ranks.broadcast(accuracy_);
  }
}

void Run::load() {
  const std::filesystem::path& checkpoint = directory_.checkpoint();
  try {
    read_checkpoint(checkpoint);
  } catch (const Error& error) {
    for (const std::filesystem::path& other : directory_.kept()) {
      try {
        read_checkpoint(other);
      } catch (const Error&) {
        continue;
      }
      fail(error.what(), "; another is good: vla train --resume ", other.string());
    }
    throw;
  }
  check_same_run(options_, checkpoint);
  training_ = std::make_unique<Training>(options_, session_.ranks);
  check_same_data(training_->task(), checkpoint);
  training_->load(checkpoint);
}

void Run::save() {
  directory_.sync_metrics();
  training_->save(directory_.last_checkpoint());
  if (options_.keep > 1) directory_.keep_last(steps(), options_.keep);
}

void Run::begin() {
  if (written() && !session_.resume) directory_.create(options_);
  const OperatorForm form = training_->operator_form();
  progress_.say(fmt::format(
      "{} on {}: {} parameters{}, {}{} x {} tokens a step, chance {:.3f}{}{}", options_.model,
      options_.task, training_->parameters(),
      form == OperatorForm::automatic ? "" : fmt::format(", operators by {}", form_name(form)),
      options_.ranks == 1 ? "" : fmt::format("{} ranks of ", options_.ranks), options_.batch,
      training_->task().length(), training_->task().chance(),
      session_.resume ? fmt::format(", from step {}", steps() - 1) : "",
      options_.mixer.symbolic > 0
          ? ", not causal: the symbolic penalty normalises over later tokens"
          : ""));
}

bool Run::learn(Index last) {
  bool done = reached(accuracy_);
  Meter stretch;
  const CatchInterrupts catching;
  watch_.lap();
  while (!done && steps() < last) {
    const Training::Step step = training_->step();
    if (total_.steps == 0) begin();
    const bool report_due = steps() % options_.report_every == 0 || steps() == options_.steps;
    if (report_due) training_->wait();  // or the time would be that of asking for the work
    const double seconds = watch_.lap();
    elapsed_ += seconds;
    stretch.losses.push_back(step.loss);
    stretch.add(seconds);
    total_.add(seconds);
    if (report_due) {
      done = reached(report(step, std::exchange(stretch, {})));
    } else {
      if (training_->device().is_cpu() || total_.steps == 1)
        if (const double loss = step.loss.item(); std::isfinite(loss)) loss_ = loss;
      progress_.update(line(loss_, stretch.per_second(training_->tokens_per_step())));
    }
    if (written() && options_.checkpoint_every > 0 && steps() % options_.checkpoint_every == 0) {
      // A run that diverged must not replace a good one.
      stretch.mean_loss(*training_, steps(), loss_);
      save();
    }
    elapsed_ += watch_.lap();
    if (interrupted()) break;
  }
  stretch.mean_loss(*training_, steps(), loss_);
  if (written()) save();
  interrupted();  // it may have come since
  return done;
}

double Run::report(const Training::Step& last_step, const Meter& stretch) {
  loss_ = stretch.mean_loss(*training_, steps(), loss_);
  if (leads()) evaluate(last_step, stretch);
  return accuracy_ = session_.ranks.broadcast(accuracy_);
}

void Run::evaluate(const Training::Step& last_step, const Meter& stretch) {
  const Evaluation held_out = training_->report_evaluation();
  accuracy_ = held_out.accuracy;
  measures_ = measures_text(held_out.measures);
  Metrics metrics{.step = steps(),
                  .loss = loss_,
                  .accuracy = held_out.accuracy,
                  .tokens_per_second = stretch.per_second(training_->tokens_per_step()),
                  .more = {{"held_out_loss", held_out.loss},
                           {"gradient_norm", last_step.gradient_norm.item()},
                           {"rate", last_step.rate},
                           {"seconds", earlier_ + elapsed_}}};
  add(held_out.measures, metrics);
  if (options_.non_finite == "skip")
    metrics.more["skipped_steps"] = static_cast<double>(training_->skipped_steps());
  if (written()) directory_.append(metrics);
  if (written() && options_.keep_best && accuracy_ > best_) {
    save();
    directory_.keep_best(directory_.last_checkpoint());
  }
  best_ = std::max(best_, accuracy_);
  progress_.report(line(metrics.loss, metrics.tokens_per_second));
}

void Run::add(const std::vector<Measure>& measures, Metrics& line) {
  for (const Measure& measure : measures) line.more[measure.name] = measure.value;
}

std::string Run::line(double loss, double tokens_per_second) const {
  const double seconds_per_step =
      total_.steps == 0 ? 0 : elapsed_ / static_cast<double>(total_.steps);
  return fmt::format("step {:>5}/{}  loss {:.4f}  accuracy {:.4f}{}  {:.0f} tokens/s  {} left",
                     steps(), options_.steps, loss, accuracy_, measures_, tokens_per_second,
                     clock_text(seconds_per_step * static_cast<double>(options_.steps - steps())));
}

Metrics Run::finish() {
  const Evaluation evaluation = training_->final_evaluation();
  const std::vector<Measure> references = training_->task().references();
  Metrics metrics{.split = "held-out",
                  .step = steps(),
                  .loss = evaluation.loss,
                  .accuracy = evaluation.accuracy,
                  .tokens_per_second = total_.per_second(training_->tokens_per_step()),
                  .more = {{"examples", static_cast<double>(evaluation.examples)},
                           {"chance", training_->task().chance()},
                           {"parameters", static_cast<double>(training_->parameters())},
                           {"peak_memory_bytes",
                            static_cast<double>(memory_statistics(training_->device()).peak)},
                           {"seconds", earlier_ + elapsed_}}};
  if (const std::optional<std::size_t> bytes = training_->state_bytes())
    metrics.more["state_bytes"] = static_cast<double>(*bytes);
  add(evaluation.measures, metrics);
  add(references, metrics);
  if (written()) {
    directory_.append(metrics);
    directory_.sync_metrics();
  }
  progress_.say(
      fmt::format("held-out accuracy {:.4f}, loss {:.4f}{} after {} steps in {} ({} "
                  "examples, chance {:.3f}{})",
                  metrics.accuracy, metrics.loss, measures_text(evaluation.measures), metrics.step,
                  clock_text(earlier_ + elapsed_), evaluation.examples, training_->task().chance(),
                  measures_text(references)));
  return metrics;
}

}  // namespace

TrainResult train(const TrainOptions& options, const Session& session, Progress& progress) {
  check_settings(options);
  check(options.ranks == session.ranks.size(), "the run is of ", options.ranks,
        " ranks, this job has ", session.ranks.size(), "; mpirun -n ", options.ranks,
        " vla train ... starts it");
  check(session.stop_at >= 0 && session.stop_at <= options.steps, "--stop-at ", session.stop_at,
        " is not allowed; 1 to ", options.steps, " (--steps), or 0 for never");
  Run run(options, session, progress);
  if (session.resume && !run.directory().names_checkpoint()) {
    if (const std::optional<Metrics> finished = run.directory().held_out()) {
      progress.say(fmt::format("{} is finished: held-out accuracy {:.4f} after {} steps",
                               run.directory().path().string(), finished->accuracy,
                               finished->step));
      return {finished->step, finished, 0};
    }
  }
  run.open();
  if (run.written() && !session.resume) run.directory().check_free(session.force);
  const Index last = session.stop_at > 0 ? session.stop_at : options.steps;
  const bool reached = run.learn(last);
  // Who asks it to stop does not want to wait for the last evaluation either.
  if (const int signal = run.signal(); signal != 0 || (!reached && run.steps() < options.steps)) {
    progress.say(fmt::format(
        "{} at step {} of {}{}", signal == 0 ? "left" : "stopped", run.steps(), options.steps,
        run.written() ? "; go on with: vla train --resume " + run.directory().path().string()
                      : ""));
    return {run.steps(), std::nullopt, signal};
  }
  if (!run.leads()) return {run.steps(), std::nullopt, 0};
  return {run.steps(), run.finish(), 0};
}

}  // namespace vla
