// Training a language model on a task, step by step, and its evaluation.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "framework/cuda/graph.hpp"
#include "framework/distributed/data_parallel.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/optim/schedule.hpp"
#include "tasks/prefetch.hpp"
#include "tools/settings.hpp"

namespace vla {

/// Examples of the held-out set that reports are made on, and of the final evaluation.
inline constexpr Index kReportExamples = 512;
inline constexpr Index kFinalExamples = 2000;

/// Streams of random numbers of a run, all of the run's seed.
enum class RunStream : std::uint64_t { weights, batches, reports, final_evaluation };
Rng run_rng(std::uint64_t seed, RunStream stream);

/// The task that the options ask for, and a new model for it whose weights come from stream
/// `weights`. Throws Error for settings that are not allowed.
std::unique_ptr<Task> make_task(const TrainOptions& options);
LanguageModel make_model(const TrainOptions& options, const Task& task);
/// The same for tokens 0 .. vocabulary-1 and so many learned positions, 0 for none.
LanguageModel make_model(const TrainOptions& options, Index vocabulary, Index positions);

/// The optimiser that the options ask for.
std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options,
                                          std::vector<Parameter> parameters);

/// The model of a run, with the parameters of its checkpoint, on a device and with activations of
/// the parameters' type, whatever the precision it was trained in; the data it learned from may be
/// gone. Sets the number of threads to the run's. Throws Error for settings that are not allowed or
/// differ from the checkpoint's.
LanguageModel trained_model(const TrainOptions& options, const std::filesystem::path& checkpoint,
                            Device device);

/// The device of this name, or where none is given that of the run, or the CPU if this machine
/// does not have it.
Device device_for(const std::string& name, const TrainOptions& run);

struct Evaluation {
  double loss = 0;  ///< mean over the counted targets
  double accuracy = 0;
  Index examples = 0;
  std::vector<Measure> measures;  ///< the task's own
};

/// ", bits per byte 2.1234" for each of them.
std::string measures_text(const std::vector<Measure>& measures);

/// The model's answers to `examples` held-out examples drawn from `rng`, `batch` at a time. Throws
/// Diverged if the loss is not finite.
Evaluation evaluate(LanguageModel& model, const Task& task, Index examples, Index batch, Rng rng);

/// Throws Error, naming both values, if the checkpoint of a run was made with another model, task,
/// seed or batch size than `options`.
void check_same_run(const TrainOptions& options, const std::filesystem::path& checkpoint);

/// Throws Error, telling both, if the run of the checkpoint learned from other data than `task`
/// has.
void check_same_data(const Task& task, const std::filesystem::path& checkpoint);

/// A training under way: everything that a checkpoint holds.
class Training {
 public:
  /// The part of this process where several learn together, on a GPU of its own if --device is cuda
  /// or auto; else all of it. Throws Error for settings that are not allowed; nothing is written.
  explicit Training(const TrainOptions& options, const Communicator& ranks = {});

  /// Loss and norm are scalars where the model is: on CUDA, reading them waits for the step.
  struct Step {
    Tensor loss;
    Tensor gradient_norm;  ///< before clipping
    double rate = 0;
  };
  /// Draws a batch and learns from it: of several ranks each from its rows of the batch that one
  /// process with a batch of all of them would draw, and all have the loss and norm of the whole.
  /// Throws Diverged if the loss is not finite and --non-finite says so; on CUDA that is for the
  /// reader to see, with check_finite. After an Error, as of memory that is not there, the training
  /// is where it was before the step.
  Step step();
  /// The same for a loss that was read later.
  void check_finite(double loss, Index step) const;
  /// Steps that --non-finite skip left out, in all sessions of the run. On CUDA this waits.
  Index skipped_steps() const { return skipped_before_ + optimizer_->skipped_steps(); }
  /// Waits for what has been begun on the device.
  void wait() const;
  Device device() const { return device_; }
  Index steps() const { return optimizer_->steps(); }

  Evaluation report_evaluation();
  Evaluation final_evaluation();

  const Task& task() const { return *task_; }
  Index parameters() const { return parameter_count_; }
  /// What is kept of one sequence of the task's length so that it can go on, measured by streaming
  /// one; none where the model does not stream.
  std::optional<std::size_t> state_bytes();
  const std::vector<Parameter>& all_parameters() const { return optimizer_->parameters(); }
  /// That of the mixers; automatic where they have none.
  OperatorForm operator_form() {
    return model_.body().blocks().front().mixer->form(task_->length());
  }
  Index tokens_per_step() const { return all_rows() * task_->length(); }

  void save(const std::filesystem::path& checkpoint) const;
  void load(const std::filesystem::path& checkpoint);

 private:
  Index all_rows() const { return options_.batch * ranks_.size(); }
  Step take_step();
  Batch next_batch();
  void learn();
  Var loss_of_batch();
  Gradients learn_alone(Tape& tape);
  Gradients learn_together(Tape& tape);

  TrainOptions options_;
  Device device_;
  std::unique_ptr<Task> task_;
  LanguageModel model_;
  Index parameter_count_;
  Communicator ranks_;
  DataParallel parallel_;
  std::unique_ptr<Optimizer> optimizer_;
  Index skipped_before_ = 0;  // in earlier sessions
  Schedule schedule_;
  RandomState batches_;                 // where the next batch begins
  std::unique_ptr<Prefetch> prefetch_;  // on a GPU, from the first step on
  // What a step reads and leaves; a captured one finds them where they are.
  Tensor tokens_, targets_, loss_, gradient_norm_;
  std::unique_ptr<CapturedGraph> graph_;
  Index eager_steps_ = 0;
};

}  // namespace vla
