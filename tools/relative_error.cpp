#include "tools/relative_error.hpp"

#include <cmath>

namespace vla {

double relative_error(const Tensor& actual, const Tensor& expected) {
  check(actual.shape() == expected.shape(), "shape ", actual.shape(), " where the case has ",
        expected.shape());
  const Tensor a = actual.to(Device{}).to(DType::float64),
               e = expected.to(Device{}).to(DType::float64);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.values<double>().size(); ++i) {
    const double x = a.values<double>()[i], y = e.values<double>()[i];
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return std::sqrt(norm > 0 ? difference / norm : difference);
}

}  // namespace vla
