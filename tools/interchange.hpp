// Parameters for other programs: the files they are in, and whose names they have there.
#pragma once

#include <filesystem>
#include <string>

#include "framework/safetensors.hpp"

namespace vla {

/// Whether --names asks for the reference's names. Throws Error for another word than own and
/// reference.
bool are_reference_names(const std::string& names);

/// A file of tensors, .safetensors or .npz by its ending; numpy's has no metadata. Throws Error for
/// another ending, and what read_safetensors, read_npz and their counterparts throw.
TensorFile read_tensors(const std::filesystem::path& path);
void write_tensors(const std::filesystem::path& path, const TensorFile& file);

/// Throws the Error that write_tensors would throw for this path now.
void check_writable_tensors(const std::filesystem::path& path);

/// What --help says of --names.
inline constexpr const char* kNamesHelp =
    "own, or reference: those of the public PyTorch reference, notebook 07";

}  // namespace vla
