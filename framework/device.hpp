// Where a tensor lives.
#pragma once

#include <iosfwd>
#include <string_view>

namespace vla {

/// A processor with memory of its own: the CPU, or the CUDA device `index`.
struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  bool is_cpu() const { return kind == Kind::cpu; }
  friend bool operator==(const Device&, const Device&) = default;
};

std::ostream& operator<<(std::ostream& out, Device device);

/// "cpu", "cuda" or "cuda:N". Throws Error for another text and for a device this build or machine
/// does not have.
Device parse_device(std::string_view text);

/// The fastest device of this build and machine.
Device best_device();

}  // namespace vla
