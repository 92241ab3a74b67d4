// vla devices
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

void print_cuda_devices() {
  if constexpr (kCudaBuild) {
    for (int i = 0; i < cuda_device_count(); ++i) {
      const Device device{Device::Kind::cuda, i};
      const cuda::Properties found = cuda::properties_now(device);
      std::cout << fmt::format(
          "{}  {}, compute capability {}.{}, {} multiprocessors, {:.1f} of {:.1f} GB free, driver "
          "for CUDA {}, runtime {}\n",
          concatenate(device), found.name, found.major, found.minor, found.multiprocessors,
          static_cast<double>(found.free_bytes) * 1e-9,
          static_cast<double>(found.memory_bytes) * 1e-9, version_text(found.driver),
          version_text(found.runtime));
    }
  }
}

}  // namespace

Command devices_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("devices", "List where this machine can compute");
  app->footer("Example:\n  vla devices");
  return {app, [] {
            std::cout << fmt::format("cpu     {} threads\n", thread_count());
            print_cuda_devices();
            if (cuda_device_count() == 0)
              std::cout << fmt::format("cuda    not available: {}\n", cuda_obstacle());
            return 0;
          }};
}

}  // namespace vla
