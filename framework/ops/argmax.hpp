// Which element of a row is the largest.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

/// For x (..., width): int64 (...), the place of the largest element of each row, the first of
/// equal ones. NaN is never the largest; -1 for a row where nothing exceeds -infinity. A choice has
/// no gradient, so this is of tensors. Throws Error for a scalar and for integers.
Tensor argmax(const Tensor& x);

}  // namespace vla
