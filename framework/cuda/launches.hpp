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
  /// From the start of `earlier` to the start of this; both have been started.
  double seconds_after(const Timer& earlier) const;

 private:
  Device device_;
  void *start_ = nullptr, *stop_ = nullptr;
};

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
  /// One launch: seconds since the profile was made, by the device's clock.
  struct Launch {
    std::string op;
    double start = 0, seconds = 0;
  };
  /// Waits for the device.
  explicit Profile(Device device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  /// Launches begun so far.
  std::size_t count() const;
  /// What was measured so far: each launch, in order; and by op, the longest first. Both wait for
  /// the device.
  ///@{
  std::vector<Launch> launches() const;
  std::vector<Row> rows() const;
  ///@}

 private:
  Device device_;
};

}  // namespace vla::cuda
