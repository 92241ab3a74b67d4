// Recompute segments (gradient checkpointing): memory for time.
#pragma once

#include <functional>
#include <vector>

#include "framework/random.hpp"
#include "framework/tape.hpp"

namespace vla {

/// What a second run needs so that it does the same.
struct RecomputeOptions {
  /// The streams that `function` draws from: the second run draws the same words, and leaves the
  /// streams where they are then. They must live until backward.
  std::vector<Rng*> random = {};
};

/// function(inputs), of which the tape keeps the inputs alone: backward runs `function` again, on a
/// tape of its own, and walks that. The gradients are those of function(inputs) called directly;
/// what it costs is a second forward pass.
///
/// `inputs` are all variables that the gradient is to reach: the parameters that `function` reads
/// are among them, though it may read them where it has them. It runs twice and must do the same
/// both times. Throws Error that names op and variable if an op reads one that requires a gradient
/// and is not among the inputs, and if an op such as dropout takes random words of a stream that is
/// not given; a stream not given that `function` draws numbers of by itself goes unseen, and makes
/// wrong gradients. `backward` throws if an input was changed in place since.
std::vector<Var> recompute(std::function<std::vector<Var>(const std::vector<Var>&)> function,
                           const std::vector<Var>& inputs, RecomputeOptions options = {},
                           CallSite site = CallSite::here());
/// The same for a function with one result.
Var recompute(std::function<Var(const std::vector<Var>&)> function, const std::vector<Var>& inputs,
              RecomputeOptions options = {}, CallSite site = CallSite::here());

}  // namespace vla
