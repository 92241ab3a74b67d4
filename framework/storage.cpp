#include "framework/storage.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "framework/check.hpp"

namespace vla {
namespace {

constexpr std::size_t kAlignment = 64;

// Under AddressSanitizer a reused block would hide a use after free.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kReuse = false;
#else
constexpr bool kReuse = true;
#endif

// Eight sizes per octave: at most an eighth of a block is wasted, and sizes repeat often enough to
// be found again.
std::size_t size_class(std::size_t bytes) {
  bytes = std::max(bytes, kAlignment);
  std::size_t step = std::max(kAlignment, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

struct CpuCache {
  std::mutex mutex;
  std::map<std::size_t, std::vector<std::byte*>> free;
  MemoryStatistics statistics;

  void release() {
    for (auto& [size, blocks] : free)
      for (std::byte* block : blocks) std::free(block);
    free.clear();
    statistics.cached = 0;
  }
};

// Never destroyed: a tensor with static storage duration may outlive every other static.
CpuCache& cpu_cache() {
  static CpuCache& cache = *new CpuCache;
  return cache;
}

std::byte* allocate(std::size_t capacity) {
  CpuCache& cache = cpu_cache();
  std::lock_guard lock(cache.mutex);
  std::byte* block = nullptr;
  auto found = cache.free.find(capacity);
  if (found != cache.free.end() && !found->second.empty()) {
    block = found->second.back();
    found->second.pop_back();
    cache.statistics.cached -= capacity;
  } else {
    block = static_cast<std::byte*>(std::aligned_alloc(kAlignment, capacity));
    if (!block) {
      cache.release();
      block = static_cast<std::byte*>(std::aligned_alloc(kAlignment, capacity));
    }
    check(block != nullptr, "out of memory: ", capacity, " bytes requested, ",
          cache.statistics.live, " in use by tensors");
  }
  cache.statistics.live += capacity;
  cache.statistics.peak = std::max(cache.statistics.peak, cache.statistics.live);
  return block;
}

void deallocate(std::byte* block, std::size_t capacity) {
  CpuCache& cache = cpu_cache();
  std::lock_guard lock(cache.mutex);
  cache.statistics.live -= capacity;
  if (!kReuse) return std::free(block);
  cache.free[capacity].push_back(block);
  cache.statistics.cached += capacity;
}

void check_cpu(Device device) {
  check(device.is_cpu(), "device ", device, " is not available: this build is CPU-only");
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device) : capacity_(size_class(bytes)), device_(device) {
  check_cpu(device);
  data_ = allocate(capacity_);
}

Storage::~Storage() { deallocate(data_, capacity_); }

MemoryStatistics memory_statistics(Device device) {
  check_cpu(device);
  std::lock_guard lock(cpu_cache().mutex);
  return cpu_cache().statistics;
}

void reset_peak_memory(Device device) {
  check_cpu(device);
  std::lock_guard lock(cpu_cache().mutex);
  cpu_cache().statistics.peak = cpu_cache().statistics.live;
}

void release_cached_memory(Device device) {
  check_cpu(device);
  std::lock_guard lock(cpu_cache().mutex);
  cpu_cache().release();
}

}  // namespace vla
