// The memories that `vla stability` knows, as the untrained layers have them.
#pragma once

#include <string>
#include <string_view>

#include "models/diagnostics.hpp"
#include "tools/stability_tokens.hpp"

namespace vla {

struct StabilityModel {
  std::string_view name;
  /// What the layer makes of its projections, in their element type.
  MemoryTokens (*features)(const MemoryTokens& projections);
  /// What the memory's operator is given then, from where `penalty` stands; moves it on. Null: the
  /// memory is not streamed here.
  MemoryInputs (*memory)(const MemoryTokens& features, PenaltyState& penalty);
  /// Diagnostics of the memory from the start of a sequence, given projections in float64.
  Diagnostics (*diagnose)(const MemoryTokens& projections, Rng& weights,
                          const DiagnosticsOptions& options);
};

/// Of the layers' projections q, k, v and the rate r, with their own options:
///   vla       q, k = unit(elu(.) + 1), beta = sigmoid(r), lambda0 as the layer starts with
///   deltanet  q, k = unit(.), beta = sigmoid(r)
///   linear    q, k = elu(.) + 1; o = S q is not divided by the denominator, which S is without
///   vla-v1    q, k as they are, directions W_u k / sqrt(d)
///   vla-v3    q = elu(.) + 1, k = unit(elu(.) + 1), directions unit(W_u k) / sqrt(d)
/// W_u starts uniform, as a Linear does by itself. The published versions are not streamed. Throws
/// Error for another name.
const StabilityModel& stability_model(std::string_view name);

/// The names of those that are streamed, or of all, with commas between.
std::string stability_model_names(bool streamed);

}  // namespace vla
