// How far a memory that is streamed in float32 drifts away from float64.
#pragma once

#include "framework/device.hpp"
#include "tools/stability.hpp"

namespace vla {

struct StreamedBlock {
  Index tokens;  ///< read up to its end
  double error;  ///< |o - o in float64| / |o in float64|, over the block
};

struct StreamedErrors {
  std::vector<StreamedBlock> blocks;  ///< at most kMostPlaces, if there are more log-spaced
  StreamedBlock largest;              ///< of all; not a number where an output is not finite
  double drawing_seconds = 0;         ///< of the inputs, on the CPU
  double seconds = 0;                 ///< of float32, copies to the device and back included
  double float64_seconds = 0;
};

/// Tokens of a block.
inline constexpr Index kStreamedBlock = 16'384;

/// The operators of the memory read the sequence block by block in float32 on `device`, each from
/// the state that the one before left, and the same inputs, which are float32 numbers, in float64
/// on the CPU. Memory does not grow with time. Throws Error for options that are not allowed, a
/// model that is not streamed among them.
StreamedErrors measure_streaming(const StabilityOptions& options, Device device,
                                 Index block = kStreamedBlock);

}  // namespace vla
