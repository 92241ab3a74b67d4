// Memory behind tensors. Freed blocks are kept and handed out again, because touching fresh pages
// costs several times as much as reusing a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "framework/device.hpp"

namespace vla {

/// A block of device memory, shared by every tensor that is a view of it.
class Storage {
 public:
  /// At least `bytes` bytes, aligned to 64, contents unspecified. Throws Error when memory is out.
  Storage(std::size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  Device device() const { return device_; }

  /// How many times somebody asked for write access: a saved tensor whose version has moved since
  /// it was saved was changed in place.
  std::uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

 private:
  std::byte* data_;
  std::size_t capacity_;
  Device device_;
  std::uint64_t version_ = 0;
};

/// Bytes in use by tensors now and at the highest, and bytes kept for reuse.
struct MemoryStatistics {
  std::size_t live = 0;
  std::size_t peak = 0;
  std::size_t cached = 0;
};

MemoryStatistics memory_statistics(Device device = {});
void reset_peak_memory(Device device = {});
/// Gives the blocks kept for reuse back to the system.
void release_cached_memory(Device device = {});

}  // namespace vla
