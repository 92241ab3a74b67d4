// The published recurrence in matrix products, for settings whose stabilisers never act.
#pragma once

#include <string>

#include "models/vla/stabilized_recurrence.hpp"

namespace vla {

/// What keeps A_t from being the inverse of lambda0 I + sum u u^T, or S from being the memory of
/// the delta rule: an option and its value, or a given state; empty where nothing does.
std::string chunk_obstacle(const StabilizedInputs& inputs, const StabilizedOptions& options);

/// The form that a layer with these options runs over a whole sequence.
inline OperatorForm whole_sequence_form(const StabilizedOptions& options, OperatorForm form) {
  return chunk_obstacle({}, options).empty() && form != OperatorForm::step ? OperatorForm::chunk
                                                                           : OperatorForm::step;
}

/// stabilized_recurrence where there is no obstacle, composed of `inverse_penalty` (in its chunk
/// form) and `delta_rule`. For inputs and options that were checked.
StabilizedResult stabilized_by_chunk(const StabilizedInputs& inputs,
                                     const StabilizedOptions& options);

}  // namespace vla
