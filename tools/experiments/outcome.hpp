// What came of a run of an experiment, as its directory tells.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tools/children.hpp"
#include "tools/settings.hpp"

namespace vla {

struct RunOutcome {
  std::string failure = {};  ///< why there is no result; empty: there is one
  double accuracy = 0, loss = 0, chance = 0;
  Index steps = 0;
  bool reached = false;  ///< it stopped early, at the accuracy that was asked for
  double seconds = 0;
  Index parameters = 0;
  std::optional<Index> state_bytes = {};  ///< none where the model does not stream
};

/// Nothing where the run is not at its end. Throws Error for files that cannot be read.
std::optional<RunOutcome> run_outcome(const std::filesystem::path& directory);

/// Whether a learning rate that ended in `a` is to be preferred to one that ended in `b`: the
/// higher accuracy; of those that reached the accuracy asked for, the one with fewer steps.
bool better(const RunOutcome& a, const RunOutcome& b);

/// The place of the best among outcomes in the order of their rates; none if all have failed.
std::optional<std::size_t> best_of(const std::vector<RunOutcome>& outcomes);

/// What a child that failed said last, or what ended it.
std::string failure_of(const Children::Ended& ended, const std::filesystem::path& log);
/// Writes down that what would have made `result`, a run's directory or an evaluation's file, is
/// not to be repeated, because it would fail again: if numbers diverged, as the exit code tells.
/// Other failures are of the machine or the moment.
void keep_failure(const std::filesystem::path& result, const Children::Ended& ended,
                  const std::string& failure);
/// What was written down; nothing if nothing was.
std::optional<std::string> kept_failure(const std::filesystem::path& result);

/// What `vla eval --json` has written.
struct EvaluationOutcome {
  double accuracy = 0, loss = 0, chance = 0;
};
EvaluationOutcome evaluation_outcome(const std::filesystem::path& file);

}  // namespace vla
