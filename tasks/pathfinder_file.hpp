// Pathfinder on disk, as the Long Range Arena has it: imgs/BATCH/sample_N.png and
// metadata/BATCH.npy in a folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tasks/pathfinder_image.hpp"

namespace vla {

/// Which images there are; they stay on disk.
struct PathfinderSet {
  std::vector<std::string> paths;  ///< from the folder on
  std::vector<std::uint8_t> labels;
  /// How many images there are.
  Index size() const { return static_cast<Index>(paths.size()); }
};

/// Reads the files of metadata in the order of their numbers. They are text: a line has fields with
/// blanks between, the image's folder and file, its number, its label 0 or 1, and others, which
/// count for nothing. Images of 0 bytes, of which the original set has one, are left out. Throws
/// Error, with the file, the line and what was expected, for anything else, for an image that is
/// missing, and for a folder without metadata.
PathfinderSet read_pathfinder(const std::filesystem::path& folder);

/// Draws `count` images, 1,000 to a batch, and writes them. Makes the folder; metadata that were
/// there are removed first, and those of a batch come after its images. Throws Error with the
/// system's reason if that fails.
void write_pathfinder(const std::filesystem::path& folder, const PathfinderRule& rule, Index count,
                      Rng rng);

}  // namespace vla
