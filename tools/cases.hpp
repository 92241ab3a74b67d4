// The table of everything whose gradient is checked, in one place for the tests and for
// `vla gradcheck`: a row an op or layer, with inputs that include edges (size 1, zero rows, equal
// values).
#pragma once

#include <string>
#include <vector>

#include "framework/gradcheck.hpp"

namespace vla {

struct GradientCase {
  std::string name;
  GradcheckFunction function;
  std::vector<Tensor> inputs;  // float64
};

/// Rows for the ops of framework/ops.
std::vector<GradientCase> op_cases();
/// Rows for framework/nn and models: one per layer and operator, parameters among the inputs.
std::vector<GradientCase> layer_cases();

}  // namespace vla
