// The published layers' recurrence, carried from one block of tokens to the next.
#pragma once

#include "models/stream_state.hpp"
#include "models/vla/stabilized_recurrence.hpp"

namespace vla {

/// stabilized_recurrence, from A and S that `carry` has as "inverse" and "memory" on; leaves those
/// after the last token. What follows an earlier block always goes by step. The inputs have neither
/// a symbolic direction nor a start of their own, unless the carry stands for a whole sequence.
StabilizedResult carried_recurrence(StabilizedInputs inputs, const StabilizedOptions& options,
                                    OperatorForm form, const Carry& carry);

}  // namespace vla
