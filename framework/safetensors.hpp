// Tensors in a file, in the safetensors format: 8 bytes header length, a JSON header, the data.
// A file is treated as hostile until every rule of the format has been checked.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// The content of a safetensors file: named tensors, in the file's order, and free text.
struct TensorFile {
  std::vector<std::pair<std::string, Tensor>> tensors = {};
  std::map<std::string, std::string> metadata = {};
  std::string source = "tensor file";  ///< where it was read from: for messages, never written

  /// The tensor of that name, or nullptr.
  const Tensor* find(std::string_view name) const;
  /// The tensor of that name. Throws Error if there is none.
  const Tensor& at(std::string_view name) const;
  /// The metadata text of that name. Throws Error if there is none.
  const std::string& text(const std::string& name) const;
};

/// Reads a file of F32, F64, I64 and U8 tensors, onto the CPU. Throws Error, one line with the
/// file and the tensor, for a file that cannot be read, breaks a rule of the format, has a
/// header of more than 100 MB, or holds another element type.
TensorFile read_safetensors(const std::filesystem::path& path);
/// The same for bytes in memory; `source` names them in messages.
TensorFile parse_safetensors(std::span<const std::byte> bytes,
                             const std::string& source = "safetensors data");
/// The metadata alone: all of the header is checked, no tensor is read.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// Writes a file, replacing one that is there only when the new one is complete on disk. Tensors
/// keep their order, except that wider element types come first, so that each is aligned. Throws
/// Error, with the old file untouched, if writing fails or a name is used twice, is not UTF-8
/// or is "__metadata__".
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace vla
