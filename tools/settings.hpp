// Everything that makes a training run: one struct, and one function that names its settings. The
// command line, config.json and their error messages all follow from that function.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "framework/optim/optimizer.hpp"
#include "models/models.hpp"
#include "tasks/tasks.hpp"

namespace vla {

/// Steps of warm-up where none are asked for: a tenth of the steps, 300 at most.
constexpr Index usual_warm_up(Index steps) { return steps < 3000 ? steps / 10 : 300; }

/// A default stays what it is: config.json of a version that did not have a setting yet means it.
struct TrainOptions {
  std::string task = "mqar";
  TaskConfig data;
  std::string model = "vla";
  MixerConfig mixer;  ///< its width, start and element type are those of the whole model
  Index layers = 2;
  Index hidden = 256;
  bool positions = true;
  bool tied_head = true;
  std::uint64_t seed = 1;
  std::string device = "cpu";
  std::string precision = "float32";
  bool graph = false;
  Index threads = 0;  ///< 0: all cores
  Index steps = 3000;
  Index batch = 64;
  std::string optimizer = "adamw";
  double momentum = 0;  ///< of sgd
  double rate = 1e-3;
  double decay = 0.01;
  double clip = 1;  ///< 0: off
  std::string non_finite = "throw";
  Index warm_up = usual_warm_up(3000);
  double until = 0;  ///< stop once the held-out accuracy reaches it; 0: never
  Index report_every = 50;
  Index checkpoint_every = 500;
  Index keep = 1;          ///< checkpoints of so many saves
  bool keep_best = false;  ///< and that of the report with the highest held-out accuracy
  Index ranks = 1;  ///< processes, each with a batch of its own; not chosen, but found (mpirun)
};

/// Calls `see(name, value, description)` for every setting of the task.
template <class See>
void visit_task_settings(TaskConfig& data, See&& see) {
  see("form", data.form, "mqar: notebook, zoology or zoology-mix");
  see("pairs", data.pairs, "mqar, associative-recall, retrieval: key value pairs; 0: the usual");
  see("vocabulary", data.vocabulary, "number of different tokens; 0: the usual for the task");
  see("length", data.length, "tokens in a sequence; 0: the usual, or what other settings need");
  see("power", data.power, "mqar, zoology: 1 spreads the queries evenly, near 0 puts them early");
  see("passes", data.passes, "mqar, zoology: how often the pairs are shown");
  see("random-filler", data.random_filler,
      "mqar, zoology: unused places hold random tokens, not 0");
  see("queries", data.queries, "associative-recall: keys asked for; 0: the usual");
  see("repeat-queries", data.repeat_queries, "associative-recall: a key may be asked twice");
  see("distractors", data.distractors, "associative-recall: other tokens after every pair");
  see("prefix", data.prefix, "copy: tokens to copy, at most; 0: the usual, or half the length");
  see("shortest-prefix", data.shortest_prefix,
      "copy: tokens to copy, at least; 0: always as many as --prefix");
  see("show-answers", data.show_answers, "copy: the place after an answer shows it, not a blank");
  see("delay", data.delay, "delayed-recall: places between a token and its recall; 0: the usual");
  see("text", data.text, "text: the file to learn from, byte by byte");
  see("valid-share", data.valid_share,
      "text: share of the file, at its end, to hold out; its first half is val, its second test");
  see("items", data.items, "selective-copy: tokens to copy; 0: the usual");
  see("depth", data.depth, "listops: depth of an expression, at most; 0: the usual");
  see("arguments", data.arguments, "listops: arguments of an operator, at most; 0: the usual");
  see("size-above", data.size_above,
      "listops: expressions have more symbols than this; 0: than a quarter of the length");
  see("contour", data.contour, "pathfinder: dashes of a long path, 6, 9 or 14; 0: the usual");
  see("data", data.data,
      "listops, pathfinder, cifar10, imdb, aan: folder of their files, to learn from; the first "
      "two "
      "without: what is drawn");
  see("held-out", data.held_out,
      "text, and listops, pathfinder, cifar10, aan of --data: what to evaluate on, val or test");
  see("chain", data.chain, "ancestor, kinship: facts of an example, at most; 0: the usual");
  see("shortest-chain", data.shortest_chain,
      "ancestor, kinship: facts of an example, at least; 0: always as many as --chain");
  see("held-out-chain", data.held_out_chain,
      "ancestor, kinship: facts of an example to evaluate on; 0: as of those to learn from");
}

/// The same for the model.
template <class See>
void visit_model_settings(TrainOptions& options, See&& see) {
  MixerConfig& mixer = options.mixer;
  see("model", options.model, "what mixes the sequence; `vla models` lists them");
  see("width", mixer.attention.width, "width of the model");
  see("heads", mixer.attention.heads, "heads per layer");
  see("layers", options.layers, "number of layers");
  see("hidden", options.hidden, "width inside the MLP");
  see("convolution", mixer.attention.convolution, "taps of the convolution on q, k, v; 0: none");
  see("key-width", mixer.attention.key_width, "width of a key per head; 0: width / heads");
  see("value-width", mixer.attention.value_width, "width of a value per head; 0: width / heads");
  see("penalty", mixer.penalty, "vla: key or learned");
  see("rank", mixer.rank, "vla with learned penalty, vla-v1, vla-v3: directions per token");
  see("forget", mixer.forget, "vla: learned forgetting");
  see("restore-period", mixer.restore_period,
      "vla, with forgetting: tokens between restorations; 0: never");
  see("lambda0", mixer.lambda0, "vla, vla-v1, vla-v3: lambda0 (at the start); 0: the model's own");
  see("learn-lambda0", mixer.learn_lambda0, "vla: lambda0 is learned, or stays at its start");
  see("features", mixer.features, "vla, of queries and keys before they are unit: elu or identity");
  see("nudge-period", mixer.nudge_period,
      "vla-v1, vla-v3: updates between nudges; 0: never; -1: the model's own");
  see("nudge-eps", mixer.nudge, "vla-v1, vla-v3: what a nudge adds; -1: the model's own");
  see("error-clip", mixer.error_clip,
      "vla-v1: longest error of a write; 0: any; -1: the model's own");
  see("symbolic", mixer.symbolic,
      "vla-v1: weight of the symbolic penalty, which relates equal tokens, later ones too, and so "
      "is not causal; 0: none");
  see("operator-form", mixer.form,
      "all but softmax: step (token by token), chunk (matrix products) or auto");
  see("positions", options.positions, "learned positions");
  see("tied-head", options.tied_head, "logits from the token table");
  see("deviation", mixer.attention.deviation, "of the normal distribution weights start from");
  see("dtype", mixer.attention.dtype, "float32 or float64");
}

/// The same for the training.
template <class See>
void visit_training_settings(TrainOptions& options, See&& see) {
  see("seed", options.seed, "seed of weights and data");
  see("device", options.device, "where to train: cpu, cuda, cuda:N, or auto");
  see("precision", options.precision,
      "on CUDA, of a float32 model: float32; tf32 in matrix products; or bf16, for activations");
  see("graph", options.graph, "on CUDA: capture a step once and replay it");
  see("threads", options.threads, "CPU threads; 0: one per core");
  see("steps", options.steps, "steps of the whole schedule");
  see("batch", options.batch, "examples per step");
  see("optimizer", options.optimizer, "adamw or sgd");
  see("momentum", options.momentum, "sgd: share of the last move that the next one keeps");
  see("rate", options.rate, "highest learning rate");
  see("decay", options.decay, "weight decay");
  see("clip", options.clip, "largest global gradient norm; 0: no limit");
  see("non-finite", options.non_finite,
      "a step whose loss or gradient norm is not finite: throw ends the training, skip moves "
      "nothing and counts it, ignore");
  see("warm-up", options.warm_up, "steps of linear warm-up, before a cosine down to 0");
  see("until", options.until, "stop at this held-out accuracy; 0: never");
  see("report-every", options.report_every, "steps between reports");
  see("checkpoint-every", options.checkpoint_every, "steps between checkpoints; 0: only the last");
  see("keep", options.keep, "checkpoints to keep, the last ones, as checkpoint-STEP.safetensors");
  see("keep-best", options.keep_best,
      "keep that of the report with the highest held-out accuracy too, as best.safetensors");
}

/// The same for all of them.
template <class See>
void visit_settings(TrainOptions& options, See&& see) {
  see("task", options.task, "what to learn; `vla tasks` lists them");
  visit_task_settings(options.data, see);
  visit_model_settings(options, see);
  visit_training_settings(options, see);
  see("ranks", options.ranks, "processes that learn together, each from --batch examples a step");
}

/// The words that an option allows, where they are few; nothing for another option. Those of models
/// and tasks are checked there.
std::vector<std::string> allowed_words(std::string_view option);

/// Throws Error, with those words, for another one; it begins with `where`, or with "--option".
void check_word(const std::string& option, const std::string& text, const std::string& where = "");

/// Names, or other words, with commas between.
std::vector<std::string> split_list(const std::string& list);

/// Whether a setting says where and how a run is computed, and nothing of what it learns.
bool is_about_computing(std::string_view name);

/// Throws Error unless every setting has an allowed value by itself, the warm-up is shorter than
/// the training, the settings of the task that differ from their default are ones it uses, and the
/// task bears a model that is not causal. What else must fit together is checked by the task and
/// the model when they are made.
void check_settings(const TrainOptions& options);

/// What the settings ask for when a step is not finite.
NonFinite non_finite_policy(const TrainOptions& options);

/// The type of activations that the settings ask for.
DType activation_dtype(const TrainOptions& options);

/// A setting from text. Throws Error that names the setting and what is allowed.
void parse_setting(const std::string& name, const std::string& text, std::string& value);
void parse_setting(const std::string& name, const std::string& text, Index& value);
void parse_setting(const std::string& name, const std::string& text, std::uint64_t& value);
void parse_setting(const std::string& name, const std::string& text, double& value);
void parse_setting(const std::string& name, const std::string& text, bool& value);
void parse_setting(const std::string& name, const std::string& text, DType& value);
/// A setting as text that parse_setting takes back without loss.
std::string setting_text(const std::string& value);
std::string setting_text(Index value);
std::string setting_text(std::uint64_t value);
std::string setting_text(double value);
std::string setting_text(bool value);
std::string setting_text(DType value);

/// Settings by name, as text.
using SettingTexts = std::map<std::string, std::string>;
SettingTexts setting_texts(TrainOptions options);
/// Gives those settings these values. Throws Error for a text that is no value of its setting.
void set_settings(TrainOptions& options, const SettingTexts& texts);

/// The settings as a JSON object, with the version of the program.
std::string to_json(const TrainOptions& options);
/// Settings from such a text; one that is not in it has its default, the warm-up that which is
/// usual for the steps. Throws Error, beginning with `source`, for one that is unknown or of
/// another type.
TrainOptions options_from_json(const std::string& text, const std::string& source);

}  // namespace vla
