// The header of a safetensors file: text in, checked entries out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// What a header says of one tensor.
struct TensorEntry {
  std::string name;
  DType dtype;
  Shape shape;
};

/// The tensors lie in the data in this order, one behind the other, and fill it.
struct TensorHeader {
  std::vector<TensorEntry> entries = {};
  std::map<std::string, std::string> metadata = {};
};

/// Checks a header of a file with `data_bytes` bytes of data by every rule of the format. Throws
/// Error that starts with `source` and names the tensor.
TensorHeader parse_header(const std::string& text, std::uint64_t data_bytes,
                          const std::string& source);

/// The header of a file that holds these tensors in this order, padded to a multiple of 8 bytes.
/// Throws Error for a name that is used twice, is reserved or is not UTF-8.
std::string format_header(const TensorHeader& header);

/// A name as messages show it: in quotes, control characters escaped, cut short if long.
std::string quote_name(std::string_view text);

}  // namespace vla
