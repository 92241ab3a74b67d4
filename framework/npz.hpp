// Several tensors as numpy keeps them: a .npz file is a zip archive with a .npy file for each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "framework/safetensors.hpp"

namespace vla {

/// What is read of an archive from a stranger.
struct NpzOptions {
  /// Most bytes of all arrays together, unpacked: a small file may claim to hold very much.
  std::uint64_t limit = std::uint64_t{4} << 30;
};

/// Reads the arrays of a file as np.savez and np.savez_compressed write it, by name and without
/// metadata; each as read_npy does. No more is unpacked than an array's shape needs. Throws Error,
/// one line with the file and the member, for what is no zip archive or a damaged or encrypted one,
/// two members of one name, members that are not .npy, more bytes than the limit or than can be in
/// so few packed ones, and whatever read_npy refuses.
TensorFile read_npz(const std::filesystem::path& path, const NpzOptions& options = {});

/// Writes the tensors as np.savez does, not compressed; the same bytes for the same tensors. Throws
/// Error, with a file that is there untouched, if writing fails, there are no tensors, or a name is
/// empty or used twice.
void write_npz(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, Tensor>>& tensors);

}  // namespace vla
