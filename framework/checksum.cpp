#include "framework/checksum.hpp"

#include <lzma.h>

namespace vla {

std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t before) {
  return lzma_crc64(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), before);
}

}  // namespace vla
