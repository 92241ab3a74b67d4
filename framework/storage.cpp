#include "framework/storage.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "framework/cuda/runtime.hpp"

namespace vla {
namespace {

constexpr std::size_t kAlignment = 64, kCudaAlignment = 512;
constexpr std::size_t kLargestShown = 5;

// Under AddressSanitizer a reused block would hide a use after free.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kReuse = false;
#else
constexpr bool kReuse = true;
#endif

// Eight sizes per octave: at most an eighth of a block is wasted, and sizes repeat often enough to
// be found again.
std::size_t size_class(std::size_t bytes, Device device) {
  const std::size_t alignment = device.is_cpu() ? kAlignment : kCudaAlignment;
  bytes = std::max(bytes, alignment);
  std::size_t step = std::max(alignment, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

std::byte* from_system(std::size_t bytes, Device device) {
  return on_device(
      "tensor", device,
      [&] { return static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)); },
      [&] { return cuda::allocate(bytes, device); });
}

void to_system(std::byte* block, Device device) {
  on_device(
      "tensor", device, [&] { std::free(block); }, [&] { cuda::release(block, device); });
}

std::string shortage(Device device, std::size_t requested, std::size_t live, std::size_t peak,
                     const std::vector<std::size_t>& largest) {
  std::string text = concatenate("out of memory on ", device, ": ", requested, " bytes requested, ",
                                 live, " in use by tensors, ", peak, " at the peak");
  for (std::size_t i = 0; i < largest.size(); ++i)
    text += concatenate(i == 0 ? "; the largest tensors hold " : ", ", largest[i]);
  return text;
}

// What is known of one device, under one lock.
struct Memory {
  std::mutex mutex;
  MemoryStatistics statistics;
  std::size_t limit = 0;
  bool poison = false;
  std::map<std::size_t, std::size_t> live_blocks;  // how many there are of each size
  std::shared_ptr<BlockPool> shared;               // the pool of everybody

  std::vector<std::size_t> largest() const {
    std::vector<std::size_t> sizes;
    for (auto entry = live_blocks.rbegin(); entry != live_blocks.rend(); ++entry)
      for (std::size_t i = 0; i < entry->second && sizes.size() < kLargestShown; ++i)
        sizes.push_back(entry->first);
    return sizes;
  }
};

Memory& memory_of(Device device);

}  // namespace

// Blocks that no tensor uses. Every call is made under the lock of the device's Memory.
class BlockPool {
 public:
  explicit BlockPool(Device device) : device_(device) {}
  // Of a private pool alone; nobody holds the lock then.
  ~BlockPool() {
    Memory& memory = memory_of(device_);
    std::lock_guard lock(memory.mutex);
    memory.statistics.cached -= bytes_;
    release();
  }

  std::byte* take(std::size_t capacity, MemoryStatistics& statistics) {
    auto found = free_.find(capacity);
    if (found == free_.end() || found->second.empty()) return nullptr;
    std::byte* block = found->second.back();
    found->second.pop_back();
    bytes_ -= capacity;
    statistics.cached -= capacity;
    return block;
  }
  void give(std::byte* block, std::size_t capacity, MemoryStatistics& statistics) {
    if (!kReuse && device_.is_cpu()) return to_system(block, device_);
    free_[capacity].push_back(block);
    bytes_ += capacity;
    statistics.cached += capacity;
  }
  std::size_t bytes() const { return bytes_; }
  void release() {
    for (auto& [size, blocks] : free_)
      for (std::byte* block : blocks) to_system(block, device_);
    free_.clear();
    bytes_ = 0;
  }

 private:
  Device device_;
  std::map<std::size_t, std::vector<std::byte*>> free_;
  std::size_t bytes_ = 0;
};

namespace {

// Never destroyed: a tensor with static storage duration may outlive every other static.
Memory& memory_of(Device device) {
  constexpr std::size_t kDevices = 17;
  static std::array<Memory, kDevices>& all = [&]() -> std::array<Memory, kDevices>& {
    auto& made = *new std::array<Memory, kDevices>;
    made[0].shared = std::make_shared<BlockPool>(Device{});
    for (int i = 1; i < static_cast<int>(kDevices); ++i)
      made[static_cast<std::size_t>(i)].shared =
          std::make_shared<BlockPool>(Device{Device::Kind::cuda, i - 1});
    return made;
  }();
  check(device.is_cpu() || (device.index >= 0 && device.index < cuda_device_count()), "device ",
        device, " is not available: ",
        cuda_device_count() == 0 ? cuda_obstacle() : "this machine has fewer CUDA devices");
  return all[device.is_cpu() ? 0 : static_cast<std::size_t>(device.index) + 1];
}

struct PoolInUse {
  Device device;
  std::shared_ptr<BlockPool> pool;
};
thread_local PoolInUse pool_in_use;

std::shared_ptr<BlockPool> pool_for(const Memory& memory, Device device) {
  return pool_in_use.pool && pool_in_use.device == device ? pool_in_use.pool : memory.shared;
}

std::byte* allocate(std::size_t capacity, Device device, BlockPool& pool) {
  Memory& memory = memory_of(device);
  std::lock_guard lock(memory.mutex);
  MemoryStatistics& statistics = memory.statistics;
  std::byte* block = nullptr;
  if (memory.limit == 0 || statistics.live + capacity <= memory.limit) {
    block = pool.take(capacity, statistics);
    if (!block) block = from_system(capacity, device);
    if (!block) {
      statistics.cached -= memory.shared->bytes();
      memory.shared->release();
      block = from_system(capacity, device);
    }
  }
  if (!block)
    throw OutOfMemory(device, capacity, statistics.live, statistics.peak, memory.largest());
  statistics.live += capacity;
  statistics.peak = std::max(statistics.peak, statistics.live);
  ++memory.live_blocks[capacity];
  if (memory.poison)
    on_device(
        "tensor", device, [&] { std::memset(block, 0xFF, capacity); },
        [&] { cuda::set_bytes(block, 0xFF, capacity, device); });
  return block;
}

}  // namespace

OutOfMemory::OutOfMemory(Device device, std::size_t requested, std::size_t live, std::size_t peak,
                         std::vector<std::size_t> largest)
    : Error(shortage(device, requested, live, peak, largest)),
      device(device),
      requested(requested),
      live(live),
      peak(peak),
      largest(std::move(largest)) {}

Storage::Storage(std::size_t bytes, Device device)
    : capacity_(size_class(bytes, device)),
      device_(device),
      pool_(pool_for(memory_of(device), device)) {
  data_ = allocate(capacity_, device, *pool_);
}

Storage::~Storage() {
  Memory& memory = memory_of(device_);
  std::lock_guard lock(memory.mutex);
  memory.statistics.live -= capacity_;
  if (auto found = memory.live_blocks.find(capacity_); --found->second == 0)
    memory.live_blocks.erase(found);
  pool_->give(data_, capacity_, memory.statistics);
}

MemoryStatistics memory_statistics(Device device) {
  Memory& memory = memory_of(device);
  std::lock_guard lock(memory.mutex);
  return memory.statistics;
}

void reset_peak_memory(Device device) {
  Memory& memory = memory_of(device);
  std::lock_guard lock(memory.mutex);
  memory.statistics.peak = memory.statistics.live;
}

void release_cached_memory(Device device) {
  Memory& memory = memory_of(device);
  std::lock_guard lock(memory.mutex);
  memory.statistics.cached -= memory.shared->bytes();
  memory.shared->release();
}

void limit_memory(std::size_t bytes, Device device) {
  Memory& memory = memory_of(device);
  std::lock_guard lock(memory.mutex);
  memory.limit = bytes;
}

void poison_memory(bool poison, Device device) {
  Memory& memory = memory_of(device);
  std::lock_guard lock(memory.mutex);
  memory.poison = poison;
}

PrivatePool::PrivatePool(Device device)
    : pool_(std::make_shared<BlockPool>(device)),
      outer_(pool_in_use.pool),
      outer_device_(pool_in_use.device) {
  pool_in_use = {device, pool_};
}

PrivatePool::~PrivatePool() { pool_in_use = {outer_device_, outer_}; }

}  // namespace vla
