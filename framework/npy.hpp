// Tensors as numpy keeps them: a .npy file holds one array. See npz.hpp for several.
// A file is treated as hostile until every rule of the format has been checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "framework/tensor.hpp"

namespace vla {

/// Reads a file of little-endian float32, float64, int64 or uint8 in C or Fortran order, onto the
/// CPU, where it is in C order. Throws Error, one line with the file and what was found, for a file
/// that cannot be read, breaks a rule of the format (versions 1 to 3), has more or less data than
/// its shape needs, or holds objects, records, big-endian numbers or another element type.
Tensor read_npy(const std::filesystem::path& path);
/// The same for bytes in memory; `source` names them in messages.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& source = ".npy data");

/// Writes a tensor from any device in C order, replacing a file that is there only when the new one
/// is complete on disk; bfloat16, which numpy does not have, as float32, which loses nothing.
/// Throws Error, with the old file untouched, if writing fails or the tensor is not defined.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

/// What comes before the data in a file with this tensor.
std::string npy_start(const Tensor& tensor);
/// A tensor as files hold it: on the CPU, of a type that numpy has. Throws Error if not defined.
Tensor as_npy_array(const Tensor& tensor);

/// Fills `into` with the bytes that come next, or throws Error.
using ReadNext = std::function<void(std::span<std::byte> into)>;
/// The array in the next `bytes` bytes, of which not one more is read.
Tensor read_npy_array(const ReadNext& read, std::uint64_t bytes, const std::string& source);

}  // namespace vla
