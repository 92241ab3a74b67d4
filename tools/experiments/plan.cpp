#include "tools/experiments/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "framework/parallel.hpp"
#include "tools/command_line.hpp"
#include "tools/run.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

constexpr Index kJobsOnCuda = 4;
constexpr Index kMostJobs = 256;

// The names that an option lists with commas between; all that are known if it lists none.
std::set<std::string> chosen_names(const char* option, const std::string& list,
                                   const std::vector<std::string>& known) {
  if (list.empty()) return {known.begin(), known.end()};
  std::string allowed;
  std::set<std::string> told, names;
  for (const std::string& name : known)
    if (told.insert(name).second) allowed += (allowed.empty() ? "" : ", ") + name;
  for (const std::string& name : split_list(list)) {
    check(told.contains(name), "--", option, " '", name, "' is not known here; allowed: ", allowed);
    names.insert(name);
  }
  return names;
}

// "cuda" or "cuda:N", whether or not this machine has it.
bool names_cuda_device(const std::string& device) {
  if (!device.starts_with("cuda:")) return device == "cuda";
  return device.size() > 5 && device.find_first_not_of("0123456789", 5) == std::string::npos;
}

void append(Words& words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
}

}  // namespace

std::string rate_text(double rate) { return setting_text(rate); }

Words split_words(const std::string& text) {
  std::istringstream stream(text);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

TrainOptions settings_of_words(const Words& words) {
  CLI::App app;
  TrainOptions options;
  visit_settings(options, [&](const std::string& name, auto& value, const char* description) {
    add_setting(app, name, value, description);
  });
  try {
    app.parse(Words(words.rbegin(), words.rend()));  // CLI11 takes them from the back
  } catch (const CLI::ParseError& error) {
    fail("'", command_text(words), "' is not for vla train: ", error.what());
  }
  if (app.get_option("--warm-up")->count() == 0) options.warm_up = usual_warm_up(options.steps);
  check_settings(options);
  return options;
}

ExperimentPlan::ExperimentPlan(const Experiment& experiment, const ExperimentOptions& options)
    : name_(experiment.name), description_(experiment.description), options_(options) {
  check(!options.out.empty(), "--out is empty; it needs a directory");
  check(options.jobs >= 0 && options.jobs <= kMostJobs, "--jobs ", options.jobs,
        " is not allowed; 1 to ", kMostJobs, ", or 0 for the usual");
  check(options.steps >= 0, "--steps ", options.steps,
        " is not allowed; 1 or more, or 0 for what the experiment says");
  if (options_.program.empty()) options_.program = this_program().string();
  cuda_ = (options.dry_run && names_cuda_device(options.device)) ||
          !parse_device(options.device).is_cpu();
  check(cuda_ || options.precision == "float32", "--precision ", options.precision,
        " is for CUDA devices, --device is ", options.device);
  // What the quick form leaves is no beginning of the real one.
  directory_ = fs::path(options.out) / (name_ + (options.quick ? "-quick" : ""));
  if (experiment.groups) groups_ = experiment.groups(options.quick);
  if (experiment.measurements) measurements_ = experiment.measurements(options.quick);
  table_ = experiment.table;
  choose();
  const Index cores = thread_count();
  jobs_ = options.jobs > 0 ? options.jobs : cuda_ ? kJobsOnCuda : cores;
  threads_ = std::max<Index>(1, cores / jobs_);
  const auto trains = [](const Measurement& one) { return one.trains; };
  check(options.steps == 0 || measurements_.empty() || std::ranges::any_of(measurements_, trains),
        "--steps is not for experiment ", name_, ", which trains nothing");
  check(options.precision == "float32" || measurements_.empty(), "--precision ", options.precision,
        " is not for experiment ", name_, ", which is of float32");
  if (experiment.one_at_a_time) {
    check(options.jobs <= 1, "--jobs ", options.jobs, " is not for experiment ", name_,
          ", which measures times: 1");
    jobs_ = 1;
    threads_ = cores;
  }
  for (const ExperimentCell& cell : cells())  // before anything is run
    for (const ExperimentRun& run : search(cell)) settings_of_words(run.words);
}

void ExperimentPlan::choose() {
  std::vector<std::string> settings, models;
  for (const ExperimentGroup& group : groups_) {
    settings.push_back(group.name);
    for (const NamedWords& model : group.models) models.push_back(model.name);
  }
  for (const Measurement& one : measurements_) {
    settings.push_back(one.setting);
    if (!one.model.empty()) models.push_back(one.model);
  }
  check(!models.empty() || options_.models.empty(), "--models is not for experiment ", name_,
        ", which measures all of them");
  settings_ = chosen_names("settings", options_.settings, settings);
  models_ = chosen_names("models", options_.models, models);
}

bool ExperimentPlan::chosen(const std::string& setting, const std::string& model) const {
  return settings_.contains(setting) && (model.empty() || models_.contains(model));
}

std::vector<ExperimentCell> ExperimentPlan::cells() const {
  std::vector<ExperimentCell> result;
  for (const ExperimentGroup& group : groups_)
    for (const NamedWords& model : group.models)
      if (chosen(group.name, model.name)) result.push_back({&group, &model});
  return result;
}

std::vector<ExperimentCell> ExperimentPlan::known_cells() const {
  std::vector<ExperimentCell> result;
  for (const ExperimentGroup& group : groups_)
    for (const NamedWords& model : group.models)
      if (chosen(group.name, model.name) || fs::exists(directory_ / group.name / model.name))
        result.push_back({&group, &model});
  return result;
}

std::vector<Measurement> ExperimentPlan::measurements() const {
  std::vector<Measurement> result;
  for (const Measurement& one : measurements_)
    if (chosen(one.setting, one.model)) result.push_back(one);
  return result;
}

std::vector<Measurement> ExperimentPlan::known_measurements() const {
  std::vector<Measurement> result;
  for (const Measurement& one : measurements_)
    if (const fs::path file = measurement_file(one);
        chosen(one.setting, one.model) || fs::exists(file) || kept_failure(file))
      result.push_back(one);
  return result;
}

ExperimentRun ExperimentPlan::run(const ExperimentCell& cell, const std::string& rate,
                                  Index seed) const {
  const auto& [group, model] = cell;
  Words words = split_words(group->words + " " + model->words);
  append(words, {"--rate", rate, "--seed", setting_text(seed)});
  if (options_.steps > 0) append(words, {"--steps", setting_text(options_.steps)});
  return {fmt::format("{} {} rate {} seed {}", group->name, model->name, rate, seed),
          directory_ / group->name / model->name / fmt::format("rate-{}-seed-{}", rate, seed),
          std::move(words)};
}

std::vector<ExperimentRun> ExperimentPlan::search(const ExperimentCell& cell) const {
  std::vector<ExperimentRun> runs;
  for (const double rate : cell.group->rates) runs.push_back(run(cell, rate_text(rate), 1));
  return runs;
}

std::vector<ExperimentRun> ExperimentPlan::repeats(const ExperimentCell& cell,
                                                   const std::string& rate) const {
  std::vector<ExperimentRun> runs;
  for (Index seed = 1; seed <= cell.group->seeds; ++seed) runs.push_back(run(cell, rate, seed));
  return runs;
}

Words ExperimentPlan::computing_words() const {
  Words words = {"--device", options_.device, "--threads", setting_text(threads_)};
  if (cuda_ && options_.graph) words.push_back("--graph");
  if (cuda_) append(words, {"--precision", options_.precision});
  return words;
}

Words ExperimentPlan::train_command(const ExperimentRun& run) const {
  const std::string directory = run.directory.string();
  Words words = {options_.program, "train"};
  check_same_settings(run);
  if (fs::exists(run.directory / "config.json")) {
    append(words, {"--resume", directory});
  } else {
    append(words, run.words);
    append(words, {"--out", directory, "--force"});
  }
  append(words, computing_words());
  return words;
}

Words ExperimentPlan::evaluation_command(const ExperimentRun& run,
                                         const NamedWords& evaluation) const {
  Words words = {options_.program, "eval", run.directory.string()};
  append(words, split_words(evaluation.words));
  append(words, {"--device", options_.device, "--threads", setting_text(threads_), "--json",
                 unfinished(evaluation_file(run, evaluation)).string()});
  return words;
}

Words ExperimentPlan::measurement_command(const Measurement& measurement) const {
  Words words = {options_.program};
  append(words, split_words(measurement.words));
  append(words,
         {unfinished(measurement_file(measurement)).string(), "--device",
          measurement.on_cpu ? "cpu" : options_.device, "--threads", setting_text(threads_)});
  if (measurement.trains && options_.steps > 0)
    append(words, {"--steps", setting_text(options_.steps)});
  return words;
}

fs::path ExperimentPlan::evaluation_file(const ExperimentRun& run,
                                         const NamedWords& evaluation) const {
  return run.directory / ("eval-" + evaluation.name + ".json");
}

fs::path ExperimentPlan::measurement_file(const Measurement& measurement) const {
  fs::path file = directory_ / measurement.setting;
  if (!measurement.model.empty()) file /= measurement.model;
  if (!measurement.variant.empty()) file /= measurement.variant;
  return file += measurement.words.ends_with(" --json") ? ".json" : ".csv";
}

Table ExperimentPlan::measured_table() const {
  std::vector<MeasuredFile> files;
  for (const Measurement& one : known_measurements()) {
    const fs::path file = measurement_file(one);
    files.push_back({one, file, kept_failure(file).has_value()});
  }
  return table_(files);
}

void ExperimentPlan::check_same_settings(const ExperimentRun& run) const {
  if (!fs::exists(run.directory / "config.json")) return;
  TrainOptions wanted = settings_of_words(run.words), made = RunDirectory(run.directory).options();
  std::vector<std::string> texts;
  visit_settings(made, [&](const std::string&, auto& value, const char*) {
    texts.push_back(setting_text(value));
  });
  auto was = texts.begin();
  visit_settings(wanted, [&](const std::string& name, auto& value, const char*) {
    const std::string text = setting_text(value), before = *was++;
    check(text == before || is_about_computing(name), run.directory.string(), " was made with ",
          name, " '", before, "', the experiment asks for '", text,
          "'; remove it, or give another --out");
  });
}

std::optional<RunOutcome> ExperimentPlan::outcome(const ExperimentRun& run) const {
  std::optional<RunOutcome> result = run_outcome(run.directory);
  if (result) check_same_settings(run);
  return result;
}

fs::path unfinished(fs::path file) { return file += ".part"; }

std::string command_text(const Words& words) {
  const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=+";
  std::string text;
  for (const std::string& word : words) {
    text += text.empty() ? "" : " ";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) {
      text += word;
      continue;
    }
    text += "'";
    for (const char letter : word) text += letter == '\'' ? "'\\''" : std::string(1, letter);
    text += "'";
  }
  return text;
}

}  // namespace vla
