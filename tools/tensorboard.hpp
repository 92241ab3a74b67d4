// The numbers of runs in the files that TensorBoard reads.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tools/run.hpp"

namespace vla {

/// CRC-32C (Castagnoli), as the framing of the files has it.
std::uint32_t crc32c(std::string_view bytes);

/// An event file with the metrics of a run: its loss, accuracy, speed and further numbers at their
/// steps; those of the final evaluation under "held-out/".
std::string tensorboard_events(const std::vector<Metrics>& lines, double wall_time);

/// Writes it to FOLDER/RUN/events.out.tfevents.vla, where RUN is the run's path as far as it is
/// below the current directory, and else all of it.
void write_tensorboard(const RunDirectory& run, const std::filesystem::path& folder);

}  // namespace vla
