// Where a tensor lives.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "framework/check.hpp"

namespace vla {

/// Whether this build has kernels for CUDA devices.
#ifdef VLA_CUDA_BUILD
inline constexpr bool kCudaBuild = true;
#else
inline constexpr bool kCudaBuild = false;
#endif

/// A processor with memory of its own: the CPU, or the CUDA device `index`.
struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  /// Whether it is the CPU.
  bool is_cpu() const { return kind == Kind::cpu; }
  friend bool operator==(const Device&, const Device&) = default;
};

std::ostream& operator<<(std::ostream& out, Device device);

/// "cpu", "cuda", "cuda:N", or "auto" for the best device. Throws Error for another text and for a
/// device this build or machine does not have.
Device parse_device(std::string_view text);

/// The fastest device of this build and machine.
Device best_device();

/// CUDA devices that can be used; 0 in a build without CUDA.
int cuda_device_count();
/// Why there are none; empty where there are some.
std::string cuda_obstacle();

/// Runs the kernel that an op has for the kind of device `device` is: the one line where CPU and
/// CUDA part. A build without CUDA throws Error that names `op`.
template <class OnCpu, class OnCuda>
decltype(auto) on_device(const char* op, Device device, OnCpu&& on_cpu, OnCuda&& on_cuda) {
  if (device.is_cpu()) return on_cpu();
  if constexpr (kCudaBuild)
    return on_cuda();
  else
    fail(op, ": no kernel for device ", device, " in a build without CUDA");
}

}  // namespace vla
