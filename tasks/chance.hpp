// What a guess reaches that has seen which values came, but not where.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

/// The expected share of the most frequent symbol among `draws` independent uniform draws out of
/// `symbols`: a little above 1 / draws when there are many symbols. Throws Error unless
/// 1 <= draws <= symbols.
double most_frequent_share(Index draws, Index symbols);

}  // namespace vla
