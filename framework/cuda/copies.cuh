// Copies from global to shared memory that a thread begins and does not wait for. They are there
// for all threads after each has waited for its own, and a __syncthreads().
#pragma once

#include "framework/cuda/kernel.cuh"

namespace vla::cuda {

/// Begins a copy of `size` bytes, 4 or 16, both addresses multiples of that; zeros where `inside`
/// is false, whatever `from` is.
template <int size>
__device__ void begin_copy(void* to, const void* from, bool inside = true) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = inside ? size : 0;
  if constexpr (size == 16)  // past the L1 cache: a block reads everything once
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(from), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :
                 : "r"(address), "l"(from), "r"(bytes)
                 : "memory");
}

/// Waits for all copies that this thread has begun.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Ends a group of copies: those that this thread has begun since the last.
__device__ inline void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits for this thread's groups but the last `pending` (at most 2).
__device__ inline void wait_for_groups(int pending) {
  if (pending == 0)
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  else if (pending == 1)
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  else
    asm volatile("cp.async.wait_group 2;" ::: "memory");
}

/// Asks for the 128 bytes around a place in global memory, so that they are near when read.
__device__ inline void prefetch(const void* place) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(place));
}

}  // namespace vla::cuda
