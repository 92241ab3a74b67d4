#include "framework/device.hpp"

#include <charconv>
#include <ostream>

#include "framework/cuda/runtime.hpp"

namespace vla {

std::ostream& operator<<(std::ostream& out, Device device) {
  if (device.is_cpu()) return out << "cpu";
  return out << "cuda:" << device.index;
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return {};
  if (text == "auto") return best_device();
  Device device{Device::Kind::cuda, 0};
  if (text != "cuda") {
    const bool numbered = text.starts_with("cuda:");
    const char* end = text.data() + text.size();
    const auto [rest, error] =
        numbered ? std::from_chars(text.data() + 5, end, device.index)
                 : std::from_chars_result{text.data(), std::errc::invalid_argument};
    check(error == std::errc() && rest == end && device.index >= 0, "unknown device '", text,
          "'; allowed: cpu, cuda, cuda:N, auto");
  }
  const int count = cuda_device_count();
  check(count > 0, "device '", text, "' is not available: ", cuda_obstacle());
  check(device.index < count, "device '", text, "' is not available: this machine has ", count,
        " CUDA device", count == 1 ? "" : "s");
  return device;
}

Device best_device() {
  if (cuda_device_count() == 0) return {};
  return {Device::Kind::cuda, 0};
}

int cuda_device_count() {
  if constexpr (kCudaBuild) return cuda::device_count();
  return 0;
}

std::string cuda_obstacle() {
  if constexpr (kCudaBuild) return cuda::obstacle();
  return "this build is CPU-only; cmake -DVLA_CUDA=ON makes one for CUDA";
}

}  // namespace vla
