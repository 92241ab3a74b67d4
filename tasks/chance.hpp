// What a guess reaches that knows which values come, but not where.
#pragma once

#include <span>

#include "tasks/task.hpp"

namespace vla {

/// The expected share of the most frequent symbol among `draws` independent uniform draws out of
/// `symbols`: a little above 1 / draws when there are many symbols. Throws Error unless
/// 1 <= draws <= symbols.
double most_frequent_share(Index draws, Index symbols);

/// The share of the most frequent target among `examples` held-out examples of a task, always the
/// same ones: for tasks whose share no formula gives. Throws Error unless there are some.
double most_frequent_target_share(const Task& task, Index examples);

/// What always answering the most frequent class of `training` reaches on `held_out`, of which
/// there are some: both are numbers of examples, class by class.
double guess_share(std::span<const Index> training, std::span<const Index> held_out);

}  // namespace vla
