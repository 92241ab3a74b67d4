// Experiments as data: what is trained with which settings, and on what it is evaluated. The driver
// that runs them knows nothing of any particular one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/tensor.hpp"

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

struct Experiment {
  std::string name;
  std::string description;
  /// The real one, or a quick form of it: under two minutes on two CPU cores.
  std::function<std::vector<ExperimentGroup>(bool quick)> groups;
  /// Words of `vla bench`, run one at a time; an experiment has either groups or these.
  std::function<std::vector<NamedWords>(bool quick)> benches = {};
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

}  // namespace vla
