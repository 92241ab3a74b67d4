// Golden cases: inputs, outputs and gradients of a reference, and how ours compare.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// Runs every case, prints a line `case array relative_error` per array to `out` (norm of the
/// difference over norm of the reference), `case/form ...` where the operators have a step and a
/// chunk form and both are run, and returns 0 if all are within `tolerance`, else 1; a
/// case of an unknown kind counts as a failure. tolerance <= 0: 1e-9 in float64, 3e-4 in float32.
/// The form of a case: tests/golden/README.md. Throws Error, after the other files, for one that is
/// not of that form.
int run_verify(const std::vector<std::string>& files, DType dtype, Device device, double tolerance,
               std::ostream& out);

}  // namespace vla
