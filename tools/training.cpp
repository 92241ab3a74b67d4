#include "tools/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "framework/checkpoint.hpp"
#include "framework/cuda/runtime.hpp"
#include "framework/diverged.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

const TrainOptions& checked(const TrainOptions& options) {
  check_settings(options);
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  return options;
}

// The settings that make the model and its data, by name.
SettingTexts defining_settings(TrainOptions options) {
  SettingTexts texts;
  const auto keep = [&](const std::string& name, auto& value, const char*) {
    texts[name] = setting_text(value);
  };
  keep("task", options.task, "");
  visit_task_settings(options.data, keep);
  visit_model_settings(options, keep);
  keep("seed", options.seed, "");
  keep("batch", options.batch, "");
  return texts;
}

// The model with its parameters on a device.
LanguageModel on(Device device, LanguageModel model) {
  move_to(model, device);
  return model;
}

}  // namespace

Rng run_rng(std::uint64_t seed, RunStream stream) {
  return Rng(seed, static_cast<std::uint64_t>(stream));
}

std::unique_ptr<Task> make_task(const TrainOptions& options) {
  return make_task(options.task, options.data);
}

LanguageModel make_model(const TrainOptions& options, const Task& task) {
  return make_model(options, task.vocabulary(), options.positions ? task.length() : 0);
}

LanguageModel make_model(const TrainOptions& options, Index vocabulary, Index positions) {
  const AttentionOptions& attention = options.mixer.attention;
  Rng rng = run_rng(options.seed, RunStream::weights);
  return LanguageModel({.body = {.vocabulary = vocabulary,
                                 .width = attention.width,
                                 .layers = options.layers,
                                 .hidden = options.hidden,
                                 .positions = positions,
                                 .deviation = attention.deviation,
                                 .dtype = attention.dtype,
                                 .activations = activation_dtype(options)},
                        .tied_head = options.tied_head},
                       mixer_factory(options.model, options.mixer), rng);
}

std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options,
                                          std::vector<Parameter> parameters) {
  if (options.optimizer == "sgd")
    return std::make_unique<Sgd>(std::move(parameters), SgdOptions{.rate = options.rate,
                                                                   .momentum = options.momentum,
                                                                   .weight_decay = options.decay});
  return std::make_unique<AdamW>(std::move(parameters),
                                 AdamOptions{.rate = options.rate, .weight_decay = options.decay});
}

LanguageModel trained_model(const TrainOptions& run, const std::filesystem::path& checkpoint,
                            Device device) {
  TrainOptions options = checked(run);
  options.precision = "float32";
  check_same_run(options, checkpoint);
  const std::string prefix = "model.";  // of what a checkpoint has beside the optimiser's
  TensorFile file{.source = checkpoint.string()};
  for (auto& [name, tensor] : read_checkpoint(checkpoint).tensors)
    if (name.starts_with(prefix)) file.tensors.emplace_back(name.substr(prefix.size()), tensor);
  const auto rows = [&](const char* table) { return file.at(table).size(0); };
  LanguageModel model =
      make_model(options, rows("tokens.weight"), options.positions ? rows("positions.weight") : 0);
  load_parameters(file, parameters(model));
  move_to(model, device);
  return model;
}

Device device_for(const std::string& name, const TrainOptions& run) {
  if (!name.empty()) return parse_device(name);
  try {
    return parse_device(run.device);
  } catch (const Error&) {
    return {};
  }
}

Evaluation evaluate(LanguageModel& model, const Task& task, Index examples, Index batch, Rng rng) {
  const PauseRecording pause;
  Evaluation result;
  result.examples = examples;
  Score total;
  for (Index done = 0; done < examples; done += batch) {
    const Batch part = task.sample_held_out(std::min(batch, examples - done), rng);
    const Var logits = model(part.tokens.to(model.device()));
    const Score part_score = score(logits.value(), part.targets);
    result.loss += cross_entropy(logits, part.targets.to(model.device())).value().item() *
                   static_cast<double>(part_score.counted);
    total += part_score;
  }
  if (total.counted > 0) result.loss /= static_cast<double>(total.counted);
  check_not_diverged(std::isfinite(result.loss), "held-out loss is ", result.loss,
                     ": training diverged; try a lower --rate");
  result.accuracy = total.accuracy();
  result.measures = task.measures(result.loss);
  return result;
}

std::string measures_text(const std::vector<Measure>& measures) {
  std::string text;
  for (const auto& [name, value, of] : measures) {
    std::string words = name;
    std::ranges::replace(words, '_', ' ');
    text += fmt::format(", {} {:.4f}{}", words, value, of.empty() ? "" : fmt::format(" ({})", of));
  }
  return text;
}

void check_same_run(const TrainOptions& options, const std::filesystem::path& checkpoint) {
  const TrainingState state = read_training_state(checkpoint);
  check(state.notes.contains("config"), checkpoint.string(), ": no settings of a run");
  const auto made =
      defining_settings(options_from_json(state.notes.at("config"), checkpoint.string()));
  for (const auto& [name, value] : defining_settings(options))
    check(made.at(name) == value, checkpoint.string(), " was made with ", name, " ", made.at(name),
          ", the run's config.json has ", name, " ", value);
}

void check_same_data(const Task& task, const std::filesystem::path& checkpoint) {
  const TrainingState state = read_training_state(checkpoint);
  const auto found = state.notes.find("data");
  const std::string then = found == state.notes.end() ? "" : found->second;
  check(then == task.fingerprint(), checkpoint.string(), " was made from data of ", then,
        ", which are now ", task.fingerprint());
}

Training::Training(const TrainOptions& options, const Communicator& ranks)
    : options_(checked(options)),
      device_(parse_device(options.device, ranks)),
      task_(make_task(options)),
      model_(on(device_, make_model(options, *task_))),
      parameter_count_(parameter_count(model_)),
      ranks_(ranks),
      parallel_(ranks, vla::parameters(model_), {.nan_for_diverged = options.non_finite == "skip"}),
      optimizer_(make_optimizer(options, vla::parameters(model_))),
      schedule_{Schedule::Kind::cosine, options.warm_up, options.steps, 0},
      batches_(run_rng(options.seed, RunStream::batches).state()) {
  check(!device_.is_cpu() || (options.precision == "float32" && !options.graph), "--device ",
        options.device, " is the CPU here, where --precision ", options.precision,
        options.graph ? " and --graph are" : " is", " not to be had");
  check(ranks.size() == 1 || !options.graph, "--graph is for one process, this job has ",
        ranks.size());
  set_matmul_precision(options.precision == "tf32" ? MatmulPrecision::tf32
                                                   : MatmulPrecision::float32);
}

void Training::check_finite(double loss, Index step) const {
  if (options_.non_finite != "throw") return;
  check_not_diverged(std::isfinite(loss), "loss is ", loss, " at step ", step, " (learning rate ",
                     options_.rate * schedule_(std::max<Index>(step - 1, 0)),
                     "): training diverged; try a lower --rate");
}

void Training::wait() const {
  if constexpr (kCudaBuild)
    if (!device_.is_cpu()) try {
        cuda::synchronize(device_);
      } catch (const Diverged&) {  // of an operator, whose step the guard has left out
        if (options_.non_finite != "skip") throw;
      }
}

Var Training::loss_of_batch() { return cross_entropy(model_(tokens_), targets_); }

void Training::learn() {
  Tape tape;
  const Gradients gradients = ranks_.size() == 1 ? learn_alone(tape) : learn_together(tape);
  gradient_norm_ = optimizer_->move(gradients, loss_);
}

Gradients Training::learn_alone(Tape& tape) {
  const Var loss = loss_of_batch();
  loss_ = loss.value();
  if (device_.is_cpu()) check_finite(loss_.item(), steps());
  return tape.backward(loss);
}

// With loss_ that of all ranks, so that what is decided by it is decided alike. What an operator of
// this rank refuses, of a step that may be skipped, makes that loss NaN, and all skip the step.
Gradients Training::learn_together(Tape& tape) {
  const bool skips = options_.non_finite == "skip";
  Var loss;
  bool refused = false;
  try {
    loss = loss_of_batch();
    loss.value().item();  // on CUDA it is told here
  } catch (const Diverged&) {
    if (!skips) throw;
    refused = true;
    loss = Var(Tensor::scalar(std::nan(""), DType::float32));
  }
  const Tensor targets = targets_.to(Device{});
  const auto all = targets.values<Index>();
  const Index ignored = std::ranges::count(all, CrossEntropyOptions().ignore_index);
  const auto [mean, share] =
      parallel_.mean(loss, refused ? 1 : static_cast<double>(targets.elements() - ignored));
  loss_ = Tensor::scalar(mean, loss.dtype(), device_);
  check_not_diverged(!skips || std::isfinite(mean), "loss is ", mean);
  check_finite(mean, steps());
  return parallel_.backward(tape, loss, share);
}

// On a GPU the processor has time to draw ahead. On the CPU drawing would take it from learning.
Batch Training::next_batch() {
  if (!device_.is_cpu()) {
    if (!prefetch_) prefetch_ = std::make_unique<Prefetch>(*task_, all_rows(), batches_);
    Batch batch = prefetch_->next();
    batches_ = prefetch_->state();
    return batch;
  }
  Rng rng(batches_);
  Batch batch = task_->sample(all_rows(), rng);
  batches_ = rng.state();
  return batch;
}

Training::Step Training::step() {
  const RandomState batches = batches_;
  const Index before = steps();
  try {
    return take_step();
  } catch (...) {
    batches_ = batches;
    prefetch_ = nullptr;
    optimizer_->set_steps(before);
    throw;
  }
}

Training::Step Training::take_step() {
  Batch batch = next_batch();
  if (ranks_.size() > 1)
    for (Tensor* part : {&batch.tokens, &batch.targets})
      *part =
          slice(Var(*part), 0, options_.batch * ranks_.rank(), options_.batch * (ranks_.rank() + 1))
              .value();
  if (tokens_.defined() && tokens_.shape() == batch.tokens.shape()) {
    tokens_.copy_from(batch.tokens);
    targets_.copy_from(batch.targets);
  } else {
    graph_ = nullptr;  // made for another shape
    eager_steps_ = 0;
    tokens_ = batch.tokens.to(device_).clone();
    targets_ = batch.targets.to(device_).clone();
  }
  const double share = schedule_(steps());
  optimizer_->begin_step(
      {.rate_share = share, .clip = options_.clip, .non_finite = non_finite_policy(options_)});
  // Libraries set themselves up in the first steps, which cannot be captured.
  constexpr Index kEagerSteps = 2;
  if (options_.graph && !graph_ && eager_steps_ == kEagerSteps) {
    wait();
    release_cached_memory(device_);  // the graph takes memory of its own
    graph_ = std::make_unique<CapturedGraph>(device_, [&] { learn(); });
  }
  if (graph_) {
    graph_->replay();
    return {loss_.clone(), gradient_norm_.clone(), options_.rate * share};
  }
  ++eager_steps_;
  try {
    learn();
  } catch (const Diverged&) {  // an operator refused what is not finite
    if (options_.non_finite != "skip") throw;
    optimizer_->skip();
    loss_ = gradient_norm_ = Tensor::scalar(std::nan(""), DType::float64, device_);
  }
  return {loss_, gradient_norm_, options_.rate * share};
}

Evaluation Training::report_evaluation() {
  return evaluate(model_, *task_, kReportExamples, options_.batch,
                  run_rng(options_.seed, RunStream::reports));
}

Evaluation Training::final_evaluation() {
  return evaluate(model_, *task_, kFinalExamples, options_.batch,
                  run_rng(options_.seed, RunStream::final_evaluation));
}

std::optional<std::size_t> Training::state_bytes() {
  if (options_.mixer.symbolic > 0) return std::nullopt;  // it looks at later tokens
  const PauseRecording pause;
  Rng rng = run_rng(options_.seed, RunStream::reports);
  const Tensor tokens = task_->sample(1, rng).tokens;
  constexpr Index kBlock = 256;  // softmax on the CPU keeps a block's scores
  StreamState state;
  for (Index begin = 0; begin < tokens.size(1); begin += kBlock) {
    const Index end = std::min(begin + kBlock, tokens.size(1));
    model_.stream(slice(Var(tokens), 1, begin, end).value().to(device_), state);
  }
  std::size_t bytes = 0;
  for (const auto& [name, part] : state.parts) bytes += part.bytes();
  return bytes;
}

void Training::save(const std::filesystem::path& checkpoint) const {
  save_checkpoint(checkpoint, optimizer_->parameters(), optimizer_.get(),
                  {.step = steps(),
                   .data_position = steps() * all_rows(),
                   .random = {{"batches", batches_}},
                   .notes = {{"config", to_json(options_)},
                             {"data", task_->fingerprint()},
                             {"skipped", std::to_string(skipped_steps())}}});
}

void Training::load(const std::filesystem::path& checkpoint) {
  const TrainingState state =
      load_checkpoint(checkpoint, optimizer_->parameters(), optimizer_.get());
  check(state.random.contains("batches"), checkpoint.string(), ": no random stream 'batches'");
  batches_ = state.random.at("batches");
  prefetch_ = nullptr;
  optimizer_->set_steps(state.step);
  if (const auto skipped = state.notes.find("skipped"); skipped != state.notes.end())
    parse_setting("skipped", skipped->second, skipped_before_);
}

}  // namespace vla
