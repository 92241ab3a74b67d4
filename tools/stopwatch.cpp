#include "tools/stopwatch.hpp"

#include <algorithm>

#include "framework/cuda/launches.hpp"
#include "framework/cuda/runtime.hpp"

namespace vla {

double seconds_of(Device device, const std::function<void()>& work) {
  const auto on_cpu = [&] {
    Stopwatch watch;
    work();
    return watch.lap();
  };
  const auto on_cuda = [&] {
    cuda::Timer timer(device);
    timer.start();
    work();
    timer.stop();
    return timer.seconds();
  };
  return on_device("bench", device, on_cpu, on_cuda);
}

void wait_for(Device device) {
  if constexpr (kCudaBuild)
    if (!device.is_cpu()) cuda::synchronize(device);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace vla
