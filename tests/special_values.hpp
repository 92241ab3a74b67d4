// Numbers that random draws never hit, and rows of them.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline const double kNaN = std::nan("");

inline Tensor row(const std::vector<double>& values, DType dtype = DType::float64) {
  return Tensor::from({static_cast<Index>(values.size())}, values).to(dtype);
}

}  // namespace vla
