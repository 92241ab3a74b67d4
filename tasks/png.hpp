// Grey images as PNG files, by libpng.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// The bytes of a PNG file of 8-bit grey pixels, row after row. Throws Error unless they are
/// width x height.
std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> pixels, Index width,
                                     Index height);

/// The pixels of a PNG file of this size, row after row; colours become grey. Throws Error, with
/// the file and what is wrong, for one that cannot be read, is damaged or has another size.
std::vector<std::uint8_t> read_png(const std::filesystem::path& path, Index width, Index height);

}  // namespace vla
