// Two ways to compute the recurrent operators; where both are exact they agree to rounding.
#pragma once

namespace vla {

enum class OperatorForm {
  automatic,  // chunk where that is exact, else step
  step,       // token by token, from the definition: the specification
  chunk,      // chunks of tokens at a time, in matrix products
};

}  // namespace vla
