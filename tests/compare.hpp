// Comparisons that tests share.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tools/golden_case.hpp"
#include "tools/relative_error.hpp"

namespace vla {

inline double relative_difference(const Tensor& actual, const Tensor& reference) {
  BOOST_REQUIRE_EQUAL(actual.shape(), reference.shape());
  return relative_error(actual, reference);
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
