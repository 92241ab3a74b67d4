// What the elements of a tensor are like, for those who look at them.
#pragma once

#include <algorithm>
#include <iosfwd>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// Of a floating tensor's elements. Those that are not finite are counted and otherwise left out.
struct Statistics {
  Index elements = 0;
  Index nan = 0, infinite = 0, zeros = 0;
  double smallest = 0, largest = 0;  ///< 0 if no element is finite
  double mean = 0;
  double norm = 0;  ///< Euclidean

  /// NaN and Inf together.
  Index not_finite() const { return nan + infinite; }
  /// The largest absolute value.
  double magnitude() const { return std::max(largest, -smallest); }
};

/// On any device; brings the values to the CPU. Throws Error for integers.
Statistics statistics(const Tensor& x);

/// Whether every element is finite, and true for integers; waits for the device.
bool all_finite(const Tensor& x);

/// How many elements have |x| in each decade: element i counts 10^(lowest + i) <= |x| <
/// 10^(lowest + i + 1); the first also has what is smaller, but for zeros, and the last what is
/// larger. Elements that are not finite are left out.
std::vector<Index> decades_of(const Tensor& x, int lowest, int count);

/// "from -1.5 to 2", or "nothing finite"; then ", 3 NaN, 1 Inf" if there are some: for people.
std::ostream& operator<<(std::ostream& out, const Statistics& statistics);

}  // namespace vla
