// Comparisons that tests share.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "framework/tensor.hpp"

namespace vla {

/// Norm of the difference over norm of the reference (or the difference alone if that is 0).
inline double relative_difference(const Tensor& actual, const Tensor& reference) {
  BOOST_REQUIRE_EQUAL(actual.shape(), reference.shape());
  const Tensor a = actual.to(DType::float64), r = reference.to(DType::float64);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.values<double>().size(); ++i) {
    const double x = a.values<double>()[i], y = r.values<double>()[i];
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return std::sqrt(norm > 0 ? difference / norm : difference);
}

inline void check_close(const Tensor& actual, const Tensor& reference, double tolerance) {
  const double difference = relative_difference(actual, reference);
  BOOST_TEST(difference <= tolerance, "relative difference " << difference << " > " << tolerance);
}

/// A predicate for BOOST_CHECK_EXCEPTION: the message is exactly this.
inline auto says(std::string message) {
  return [message](const std::exception& error) {
    BOOST_TEST_CONTEXT("message: " << error.what()) BOOST_TEST(error.what() == message);
    return error.what() == message;
  };
}

}  // namespace vla
