// Tests of CUDA run where there is a device. Elsewhere they are skipped, and counted as skipped.
#pragma once

#include <boost/test/unit_test.hpp>

#include "framework/device.hpp"

namespace vla {

inline const Device kCuda{Device::Kind::cuda, 0};

inline boost::test_tools::assertion_result has_cuda(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(cuda_device_count() > 0);
  if (!result) result.message() << "no CUDA device: " << cuda_obstacle();
  return result;
}

}  // namespace vla

/// Beside the name of a test case that needs a device. Not of a suite: the report would not count
/// its cases.
#define NEEDS_CUDA *boost::unit_test::precondition(::vla::has_cuda)
