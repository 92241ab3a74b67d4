// What reductions fold with, on CPU and CUDA.
#pragma once

#include <limits>

#include "framework/host_device.hpp"
#include "framework/tensor.hpp"

namespace vla {

struct SumFold {
  static constexpr auto name = "sum";
  static constexpr double start = 0;
  template <class T>
  VLA_HOST_DEVICE static T fold(T sum, T x) {
    return sum + x;
  }
};
struct MaxFold {
  static constexpr auto name = "max";
  static constexpr double start = -std::numeric_limits<double>::infinity();
  // NaN wins, as an error must not be hidden.
  template <class T>
  VLA_HOST_DEVICE static T fold(T largest, T x) {
    return largest >= x || largest != largest ? largest : x;
  }
};

/// A tensor seen as (outer, length, inner) while its middle axis is reduced.
struct FoldRun {
  Index outer = 1, length = 1, inner = 1;
};

}  // namespace vla
