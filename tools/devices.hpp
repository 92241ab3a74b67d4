// The devices beside the CPU, as people read it.
#pragma once

#include <string>

namespace vla {

/// A line for each CUDA device, or one that says why there is none. Their first word is as wide as
/// `column`.
std::string cuda_devices(int column);

}  // namespace vla
