// The order in which the examples of a set are learned from.
#pragma once

#include "framework/random.hpp"

namespace vla {

/// The number of the next example out of `count`. With w the position of `rng`, one word of which
/// it takes, that is example w % count of epoch w / count. An epoch has every example once, in an
/// order of its own that follows from seed, stream and epoch alone; nothing is kept from one call
/// to the next. Throws Error unless 1 <= count <= 2^32.
Index next_of_epoch(Index count, Rng& rng);

}  // namespace vla
