// Ways to compute the recurrent operators; their results agree to rounding.
#pragma once

namespace vla {

enum class OperatorForm {
  automatic,  // chunk where it is exact, otherwise step
  step,       // token by token, from the definition: the specification
  chunk,      // chunks of tokens at a time, in matrix products
};

}  // namespace vla
