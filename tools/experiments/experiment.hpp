// Experiments as data: what is trained with which settings, and on what it is evaluated; or what is
// measured. The driver that runs them knows nothing of any particular one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "framework/tensor.hpp"
#include "tools/csv.hpp"

namespace vla {

/// A name for tables and folders, and what it stands for on the command line of `vla`.
struct NamedWords {
  std::string name;   ///< letters, digits, '-', '_' and '.'
  std::string words;  ///< with spaces between
};

/// One setting of a task and a size of the models: a block of rows in the table.
struct ExperimentGroup {
  std::string name;
  std::string words;                         ///< of `vla train`
  std::vector<NamedWords> models;            ///< further words of `vla train`
  std::vector<double> rates;                 ///< of which each model's best is found with seed 1
  Index seeds = 3;                           ///< 1 .. seeds, at that rate
  std::vector<NamedWords> evaluations = {};  ///< of `vla eval`: the trained models on other sizes
};

/// A command of its own that leaves its result in a file.
struct Measurement {
  std::string setting;
  std::string model = {};    ///< empty: of all of them at once
  std::string variant = {};  ///< of several with the same setting and model
  std::string words;         ///< of `vla`; the last is the option that takes the name of the file
  bool trains = false;       ///< it has --steps
  bool on_cpu = false;       ///< it is made there, whatever the device of the experiment
};

/// A measurement and the file of its result, which exists if it has been made.
struct MeasuredFile {
  Measurement measurement;
  std::filesystem::path file;
  bool failed = false;  ///< for good: it is not made again
};

/// How many of the seeds that there are to be have a result: "3", "1 of 3", "2 of 3, 1 failed",
/// "not run".
std::string seeds_text(std::size_t have, std::size_t wanted, std::size_t failed);

struct Experiment {
  std::string name;
  std::string description;
  /// The real one, or a quick form of it: under two minutes on two CPU cores.
  std::function<std::vector<ExperimentGroup>(bool quick)> groups = {};
  /// In place of groups; and the table of what there is of their results.
  std::function<std::vector<Measurement>(bool quick)> measurements = {};
  std::function<Table(const std::vector<MeasuredFile>&)> table = {};
  bool one_at_a_time = false;  ///< measurements of time, which others would disturb
};

/// All of them, the most important first. A new one is a function in a file of tools/experiments
/// and a line in experiments.cpp.
std::vector<Experiment> experiments();
/// The one of this name. Throws Error, with the names there are, for another.
Experiment find_experiment(const std::string& name);

/// Exact VLA, its published versions and the baselines, as most experiments compare them.
std::vector<NamedWords> usual_models();
/// DeltaNet with values `times` as wide as its keys, of `head_width`: VLA keeps a penalty, and for
/// speed its inverse, beside a memory; so with twice or three times the memory DeltaNet has as many
/// bytes.
NamedWords deltanet_with_values(Index times, Index head_width);

// The experiments, in files of their own.
Experiment mqar_capacity();
Experiment mqar_length();
Experiment mqar_zoology();
Experiment copy_experiment();
Experiment delayed_recall_experiment();
Experiment associative_recall_experiment();
Experiment retrieval_experiment();
Experiment ablations();
Experiment symbolic();
Experiment listops_experiment();
Experiment pathfinder_experiment();
Experiment scaling();
Experiment regression_experiment();
Experiment stability_experiment();

}  // namespace vla
