// The runs that an experiment asks for: their directories, settings and command lines.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tools/experiments/experiment.hpp"
#include "tools/experiments/outcome.hpp"
#include "tools/settings.hpp"

namespace vla {

struct ExperimentOptions {
  bool quick = false;
  bool dry_run = false;  ///< nothing is run, so that the device need not be here
  std::string device = "cpu";
  std::string precision = "float32";  ///< of trainings on CUDA, see TrainOptions
  bool graph = true;                  ///< on CUDA, each step as one launch
  Index jobs = 0;                     ///< runs at a time; 0: one per core, on CUDA 4
  Index steps = 0;  ///< of every run, to try an experiment out; 0: what the experiment says
  std::string settings = {};  ///< names of groups with commas between; empty: all
  std::string models = {};    ///< names with commas between; empty: all
  std::string out = "runs/experiments";
  std::string program =
      {};  ///< what runs the commands of `vla`; empty: the program that is running
};

using Words = std::vector<std::string>;
Words split_words(const std::string& text);

/// The settings that words of `vla train` ask for. Throws Error for those that it would refuse.
TrainOptions settings_of_words(const Words& words);

/// A learning rate as words and directories have it.
std::string rate_text(double rate);

/// A training of an experiment.
struct ExperimentRun {
  std::string label;  ///< for people: group, model, rate and seed
  std::filesystem::path directory;
  Words words;  ///< of its settings
};

/// A model in a group: a row of the table.
struct ExperimentCell {
  const ExperimentGroup* group;
  const NamedWords* model;
};

class ExperimentPlan {
 public:
  /// Throws Error for options that are not allowed; nothing is written.
  ExperimentPlan(const Experiment& experiment, const ExperimentOptions& options);
  ExperimentPlan(const ExperimentPlan&) = delete;
  ExperimentPlan& operator=(const ExperimentPlan&) = delete;

  const std::string& name() const { return name_; }
  const std::string& description() const { return description_; }
  const ExperimentOptions& options() const { return options_; }
  const std::filesystem::path& directory() const { return directory_; }
  /// What the options ask for; an experiment has either.
  std::vector<ExperimentCell> cells() const;
  std::vector<Measurement> measurements() const;
  /// The same, and whatever else the directory holds something of.
  std::vector<ExperimentCell> known_cells() const;
  std::vector<Measurement> known_measurements() const;
  /// Of known_measurements().
  Table measured_table() const;
  Index jobs() const { return jobs_; }
  /// CPU threads of each of them.
  Index threads() const { return threads_; }

  /// One run per rate, with seed 1.
  std::vector<ExperimentRun> search(const ExperimentCell& cell) const;
  /// One per seed, at a rate as text; the first is also one of the search.
  std::vector<ExperimentRun> repeats(const ExperimentCell& cell, const std::string& rate) const;

  /// The command of a run: it goes on where the directory holds its beginning. Throws Error if that
  /// was made with other settings.
  Words train_command(const ExperimentRun& run) const;
  Words evaluation_command(const ExperimentRun& run, const NamedWords& evaluation) const;
  Words measurement_command(const Measurement& measurement) const;
  /// Where the results of the second and the third are kept. They are written beside it, to
  /// unfinished(file): a file that was cut off is none.
  std::filesystem::path evaluation_file(const ExperimentRun& run,
                                        const NamedWords& evaluation) const;
  std::filesystem::path measurement_file(const Measurement& measurement) const;

  /// The outcome of a run, if it has one. Throws Error if it was made with other settings.
  std::optional<RunOutcome> outcome(const ExperimentRun& run) const;

 private:
  ExperimentRun run(const ExperimentCell& cell, const std::string& rate, Index seed) const;
  void choose();
  bool chosen(const std::string& setting, const std::string& model) const;
  void check_same_settings(const ExperimentRun& run) const;
  Words computing_words() const;

  std::string name_, description_;
  ExperimentOptions options_;
  std::filesystem::path directory_;
  std::vector<ExperimentGroup> groups_;
  std::vector<Measurement> measurements_;
  std::set<std::string> settings_, models_;  // names that were chosen
  std::function<Table(const std::vector<MeasuredFile>&)> table_;
  Index jobs_ = 1, threads_ = 1;
  bool cuda_ = false;
};

std::filesystem::path unfinished(std::filesystem::path file);

/// Words as a shell takes them.
std::string command_text(const Words& words);

}  // namespace vla
