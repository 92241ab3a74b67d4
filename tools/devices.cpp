// vla devices
#include "tools/devices.hpp"

#include <fmt/format.h>

#include <iostream>

#include "framework/cuda/runtime.hpp"
#include "framework/parallel.hpp"
#include "tools/command_line.hpp"

namespace vla {
namespace {

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

std::string cuda_devices(int column) {
  std::string lines;
  if constexpr (kCudaBuild) {
    for (int i = 0; i < cuda_device_count(); ++i) {
      const Device device{Device::Kind::cuda, i};
      const cuda::Properties found = cuda::properties_now(device);
      lines += fmt::format(
          "{:<{}}{}, compute capability {}.{}, {} multiprocessors, {:.1f} of {:.1f} GB free, "
          "driver for CUDA {}, runtime {}\n",
          concatenate(device), column, found.name, found.major, found.minor, found.multiprocessors,
          static_cast<double>(found.free_bytes) * 1e-9,
          static_cast<double>(found.memory_bytes) * 1e-9, version_text(found.driver),
          version_text(found.runtime));
    }
  }
  if (cuda_device_count() == 0)
    lines = fmt::format("{:<{}}not available: {}\n", "cuda", column, cuda_obstacle());
  return lines;
}

Command devices_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("devices", "List where this machine can compute");
  app->footer("Example:\n  vla devices");
  return {app, [] {
            constexpr int column = 8;
            std::cout << fmt::format("{:<{}}{} threads\n", "cpu", column, thread_count())
                      << cuda_devices(column);
            return 0;
          }};
}

}  // namespace vla
