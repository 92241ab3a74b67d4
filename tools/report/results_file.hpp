// What an experiment has written to its directory, read back.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tools/experiments/outcome.hpp"
#include "tools/experiments/table.hpp"

namespace vla {

/// A seed at the best learning rate that has come to its end.
struct SeedResult {
  std::filesystem::path directory;  ///< of the run, below that of the experiment
  double accuracy = 0, chance = 0;
  std::map<std::string, EvaluationOutcome> evaluations = {};  ///< on other sizes, by name
};

struct CellResult {
  std::string setting, model;
  std::vector<SeedResult> seeds = {};
};

struct ResultsFile {
  std::filesystem::path directory;
  std::string name, description, made_with;
  std::vector<CellResult> cells = {};
  std::vector<MeasuredFile> measured = {};
  Table table = {};

  /// In the order of the file.
  std::vector<std::string> settings() const;
};

bool is_experiment(const std::filesystem::path& directory);

/// Reads results.json and table.csv. Throws Error, naming the file, for what cannot be read.
ResultsFile read_results(const std::filesystem::path& directory);

}  // namespace vla
