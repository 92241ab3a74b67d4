// A training run from its first step to its last, in one session or several.
#pragma once

#include <filesystem>
#include <optional>

#include "framework/distributed/communicator.hpp"
#include "tools/progress.hpp"
#include "tools/run.hpp"
#include "tools/settings.hpp"

namespace vla {

/// What may change between the sessions of one run.
struct Session {
  std::filesystem::path directory;  ///< or a checkpoint in it; empty: nothing is written
  bool force = false;               ///< start anew where a run exists
  bool resume = false;              ///< go on from the directory's checkpoint, or from step 0
  Index stop_at = 0;                ///< leave the run at this step, to be resumed; 0: never
  Communicator ranks = {};          ///< that learn together; rank 0 alone writes and evaluates
};

struct TrainResult {
  Index step = 0;                   ///< steps taken
  std::optional<Metrics> held_out;  ///< the final evaluation (rank 0), unless it was left early
  int signal = 0;                   ///< that made it leave early: Ctrl-C, or a request to end
};

/// Trains until the last step, or until the held-out accuracy reaches `options.until`, and
/// evaluates. A run of 2N steps and one that was left at N and resumed end in the same checkpoint,
/// byte for byte, with equal numbers of threads. Several ranks call it together. Ctrl-C and
/// requests to end leave the run after the step that is under way, with a checkpoint; a second one,
/// or one during the final evaluation, ends the program at once. Throws Error for settings that are
/// not allowed (nothing is then written) and files that cannot be read or written, Diverged for a
/// loss that is not finite.
TrainResult train(const TrainOptions& options, const Session& session, Progress& progress);

}  // namespace vla
