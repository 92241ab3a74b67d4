#include "framework/device.hpp"

#include <ostream>

#include "framework/check.hpp"

namespace vla {

std::ostream& operator<<(std::ostream& out, Device device) {
  if (device.is_cpu()) return out << "cpu";
  return out << "cuda:" << device.index;
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return {};
  check(!text.starts_with("cuda"), "device '", text, "' is not available: this build is CPU-only");
  fail("unknown device '", text, "'; allowed: cpu");
}

Device best_device() { return {}; }

}  // namespace vla
