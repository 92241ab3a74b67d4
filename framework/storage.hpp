// Memory behind tensors. Freed blocks are kept and handed out again, because touching fresh pages
// costs several times as much as reusing a block, and asking a GPU for memory costs more still. On
// a CUDA device a block may be handed out while the kernel that used it last still runs: everything
// goes by one stream, so the next user comes after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "framework/device.hpp"

namespace vla {

class BlockPool;

/// A block of device memory, shared by every tensor that is a view of it.
class Storage {
 public:
  /// At least `bytes` bytes, aligned to 64 (on CUDA 256), contents unspecified. Throws OutOfMemory,
  /// after which the program can go on.
  Storage(std::size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  /// Where it begins, in the memory of its device.
  ///@{
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  ///@}
  /// Where it is.
  Device device() const { return device_; }

  /// How many times somebody asked for write access: a saved tensor whose version has moved since
  /// it was saved was changed in place.
  std::uint64_t version() const { return version_; }
  /// Notes that somebody has write access.
  void bump_version() { ++version_; }

 private:
  std::byte* data_;
  std::size_t capacity_;
  Device device_;
  std::shared_ptr<BlockPool> pool_;
  std::uint64_t version_ = 0;
};

/// There is no room for a tensor.
class OutOfMemory : public Error {
 public:
  /// Says all of these in its message.
  OutOfMemory(Device device, std::size_t requested, std::size_t live, std::size_t peak,
              std::vector<std::size_t> largest);

  Device device;
  std::size_t requested, live, peak;  ///< bytes
  std::vector<std::size_t> largest;   ///< bytes of the largest tensors, the largest first
};

/// Bytes in use by tensors now and at the highest, and bytes kept for reuse.
struct MemoryStatistics {
  std::size_t live = 0;
  std::size_t peak = 0;
  std::size_t cached = 0;
};

/// Those of a device.
MemoryStatistics memory_statistics(Device device = {});
/// From now on the peak is that of later tensors.
void reset_peak_memory(Device device = {});
/// Gives the blocks kept for reuse back to the system.
void release_cached_memory(Device device = {});
/// From now on tensors on the device may hold `bytes` bytes together; 0: as many as there are.
void limit_memory(std::size_t bytes, Device device = {});

/// From now on new tensors are full of NaN, for tests: whoever reads what nobody wrote shows.
void poison_memory(bool poison, Device device = {});

/// While it lives, tensors that its thread makes on `device` take their memory from a pool of their
/// own, and give it back there: what a captured CUDA graph reads and writes is nobody else's while
/// `pool()` is held.
class PrivatePool {
 public:
  /// A pool that is empty at first.
  explicit PrivatePool(Device device);
  ~PrivatePool();
  PrivatePool(const PrivatePool&) = delete;
  PrivatePool& operator=(const PrivatePool&) = delete;
  /// Keeps its memory apart as long as it is held.
  const std::shared_ptr<BlockPool>& pool() const { return pool_; }

 private:
  std::shared_ptr<BlockPool> pool_, outer_;
  Device outer_device_;
};

}  // namespace vla
