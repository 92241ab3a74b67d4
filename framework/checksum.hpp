// Tells damaged bytes from those that were written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vla {

/// 64-bit cyclic redundancy check (ECMA-182) of the bytes that gave `before` and then these.
std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t before = 0);

}  // namespace vla
