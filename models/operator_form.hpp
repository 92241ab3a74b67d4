// Ways to compute the recurrent operators; their results agree to rounding.
#pragma once

#include <cstdint>
#include <string_view>

namespace vla {

enum class OperatorForm {
  automatic,  // chunk where it is exact, otherwise step
  step,       // token by token, from the definition: the specification
  chunk,      // chunks of tokens at a time, in matrix products
};

/// Blocks of this many tokens or fewer are quicker step by step: a chunk's factorisations and
/// padding cost more than the steps they save.
inline constexpr std::int64_t kFewTokens = 8;

/// What `form` means for `time` tokens to an operator that always has a chunk form.
constexpr OperatorForm resolved_form(OperatorForm form, std::int64_t time) {
  if (form != OperatorForm::automatic) return form;
  return time <= kFewTokens ? OperatorForm::step : OperatorForm::chunk;
}

/// "auto", "step" or "chunk".
std::string_view form_name(OperatorForm form);
/// The form of such a name; Error for another.
OperatorForm parse_form(std::string_view name);

}  // namespace vla
