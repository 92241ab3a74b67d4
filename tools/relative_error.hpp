// How far numbers are from those they should be.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

/// Norm of the difference over norm of the reference, or the difference alone where the reference
/// is 0. Throws Error for different shapes.
double relative_error(const Tensor& actual, const Tensor& expected);

}  // namespace vla
