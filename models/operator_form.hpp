// Ways to compute the recurrent operators; their results agree to rounding.
#pragma once

#include <string_view>

namespace vla {

enum class OperatorForm {
  automatic,  // chunk where it is exact, otherwise step
  step,       // token by token, from the definition: the specification
  chunk,      // chunks of tokens at a time, in matrix products
};

/// What `automatic` means to an operator that always has a chunk form.
constexpr OperatorForm chunk_unless_step(OperatorForm form) {
  return form == OperatorForm::step ? OperatorForm::step : OperatorForm::chunk;
}

/// "auto", "step" or "chunk".
std::string_view form_name(OperatorForm form);
/// The form of such a name; Error for another.
OperatorForm parse_form(std::string_view name);

}  // namespace vla
