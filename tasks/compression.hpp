// What a compressor makes of bytes: the yardstick for a model that predicts them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vla {

/// Bytes of `data` after LZMA2, the method of `xz -9`, without a file format around it. The whole
/// of what came before is its dictionary, up to 64 MiB. Takes a second for a few MiB, and 12 times
/// their memory.
std::size_t compressed_bytes(std::span<const std::uint8_t> data);

}  // namespace vla
