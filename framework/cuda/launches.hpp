// What is begun on a device: counted, checked and, if wanted, timed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/device.hpp"

namespace vla::cuda {

/// Brackets what is begun on the stream on behalf of an op: a kernel or a library call. Counts
/// launches, times them while a Profile lives, and with VLA_DEBUG_SYNC=1 in the environment waits
/// after each, so that an error is seen where it arises.
class Begun {
 public:
  /// Before a launch on behalf of `op`, whose name must outlive it.
  Begun(const char* op, Device device);
  /// Throws Error that names the op if the launch failed.
  void finish();

 private:
  const char* op_;
  Device device_;
  int timer_ = -1;
};

/// Kernels and library calls begun so far, on all devices.
std::int64_t launches();

/// While it lives, measures the time that each op's launches take on one device, less what is
/// measured with nothing between two points.
class Profile {
 public:
  /// An op and what its launches took together.
  struct Row {
    std::string op;
    std::int64_t launches = 0;
    double seconds = 0;
  };
  /// Measures from here on. Throws Error while another one lives.
  explicit Profile(Device device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  /// What was measured so far, the longest first. Waits for the device.
  std::vector<Row> rows();

 private:
  Device device_;
};

/// A pair of points in the stream and the time between them.
class Timer {
 public:
  /// Nothing measured yet.
  explicit Timer(Device device);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  /// Puts the first point, or the second, behind what was begun so far.
  ///@{
  void start();
  void stop();
  ///@}
  /// Waits until `stop` is reached.
  double seconds() const;

 private:
  Device device_;
  void *start_ = nullptr, *stop_ = nullptr;
};

}  // namespace vla::cuda
