// A trained run with an example of its held-out data, to look at what its layers do there.
#pragma once

#include <optional>
#include <vector>

#include "models/diagnostics.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {

struct Look {
  TrainOptions options;
  std::uint64_t seed = 0;  ///< of the example
  LanguageModel model;
  Tensor tokens;  ///< (1, T)

  Index time() const { return tokens.size(1); }
  /// Diagnostics of the mixer of a layer, from 0.
  Diagnostics diagnose(Index layer, const DiagnosticsOptions& options);
};

/// The first example of the run's held-out data, or another where a seed is given. Throws Error for
/// a run without a checkpoint, or whose data are gone or others.
Look look_into(const RunDirectory& run, std::optional<std::uint64_t> seed = {});

/// Throws Error if the model has no such layer.
void check_layer(const TrainOptions& options, Index layer);

/// The heads that --head asks for: one of them, from 0, or all if it is -1. Throws Error for
/// another.
std::vector<Index> asked_heads(const TrainOptions& options, Index head);

}  // namespace vla
