// How long something takes: on the wall, and on a device.
#pragma once

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "framework/device.hpp"

namespace vla {

/// Seconds since it was made or last asked.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// The seconds that `work` takes; on CUDA from its begin on the stream to its end there.
double seconds_of(Device device, const std::function<void()>& work);

/// Waits for everything that was begun on the device.
void wait_for(Device device);

/// The middle one, of an even number the upper.
double median(std::vector<double> values);

}  // namespace vla
