#include "framework/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>

#include "framework/optim/optimizer_cuda.hpp"

namespace vla {
namespace {

// Calls see(value) with every element as a double.
template <class See>
void for_each_value(const Tensor& x, const char* op, See&& see) {
  check(is_floating(x.dtype()), op, ": element type ", x.dtype(),
        " is not allowed; a floating one");
  dispatch_any(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const Tensor here = x.to(Device{});
    for (const T& value : here.template values<T>()) {
      if constexpr (std::is_same_v<T, BFloat16>)
        see(static_cast<double>(static_cast<float>(value)));
      else
        see(static_cast<double>(value));
    }
  });
}

template <class T>
bool finite_on_cpu(const Tensor& x) {
  const auto values = x.values<T>();
  // x - x is 0 for a finite x and NaN for any other: a sum that the processor takes in one sweep.
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] - values[i];
  return sum == 0;
}

}  // namespace

Statistics statistics(const Tensor& x) {
  Statistics result{.elements = x.elements()};
  double sum = 0, squares = 0;
  bool any = false;
  for_each_value(x, "statistics", [&](double value) {
    if (!std::isfinite(value)) {
      ++(std::isnan(value) ? result.nan : result.infinite);
      return;
    }
    result.smallest = any ? std::min(result.smallest, value) : value;
    result.largest = any ? std::max(result.largest, value) : value;
    any = true;
    result.zeros += value == 0;
    sum += value;
    squares += value * value;
  });
  const Index finite = result.elements - result.not_finite();
  result.mean = finite > 0 ? sum / static_cast<double>(finite) : 0;
  result.norm = std::sqrt(squares);
  return result;
}

bool all_finite(const Tensor& x) {
  if (!is_floating(x.dtype()) || x.elements() == 0) return true;
  bool finite = false;
  if (x.dtype() != DType::bfloat16)
    on_device(
        "all_finite", x.device(),
        [&] {
          dispatch_floating(x.dtype(), "all_finite",
                            [&](auto zero) { finite = finite_on_cpu<decltype(zero)>(x); });
        },
        [&] {
          Tensor norm({}, DType::float64, x.device());
          cuda::global_norm({x}, norm);
          finite = std::isfinite(norm.item());
        });
  // Squares of float64 may overflow on the device, where there is no norm of bfloat16.
  return finite || statistics(x).not_finite() == 0;
}

std::vector<Index> decades_of(const Tensor& x, int lowest, int count) {
  check(count >= 1, "decades: ", count, " is not allowed; 1 or more");
  std::vector<Index> result(static_cast<std::size_t>(count));
  for_each_value(x, "decades", [&](double value) {
    if (value == 0 || !std::isfinite(value)) return;
    const double decade = std::floor(std::log10(std::abs(value))) - lowest;
    ++result[static_cast<std::size_t>(std::clamp(decade, 0.0, count - 1.0))];
  });
  return result;
}

std::ostream& operator<<(std::ostream& out, const Statistics& statistics) {
  if (statistics.elements == statistics.not_finite())
    out << (statistics.elements == 0 ? "no elements" : "nothing finite");
  else
    out << "from " << statistics.smallest << " to " << statistics.largest;
  if (statistics.nan > 0) out << ", " << statistics.nan << " NaN";
  if (statistics.infinite > 0) out << ", " << statistics.infinite << " Inf";
  return out;
}

}  // namespace vla
