// What the project needs of the CUDA runtime, without showing its headers. A build without CUDA has
// these declarations and none of the functions.
//
// Each device has one stream on which everything runs in order: a block of memory that one kernel
// is done with can be given to the next, and nothing waits but where a value is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "framework/device.hpp"

namespace vla::cuda {

/// Devices that can be used.
int device_count();
/// Why there are none, in words; empty where there are some.
std::string obstacle();

/// What a device is and can do.
struct Properties {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  std::size_t memory_bytes = 0, free_bytes = 0;
  std::size_t shared_bytes = 0;  ///< of a block, at most
  int driver = 0, runtime = 0;   ///< versions, 1000 major + 10 minor
};
/// Read once; free memory is that of the first call.
const Properties& properties(Device device);
/// The same with the memory that is free now.
Properties properties_now(Device device);

/// Throws Error that names `op` if the runtime call that returned `status` failed.
void check_status(int status, const char* op);

/// Memory on the device; nullptr where there is not enough.
std::byte* allocate(std::size_t bytes, Device device);
/// Gives back what `allocate` gave.
void release(std::byte* block, Device device);

/// Copies between arrays, in the order of the stream. From the host: `from` may be changed as soon
/// as the call returns. To the host: waits until the values are there, and throws what the device
/// has reported (see problem.hpp).
void copy_to_device(void* to, const void* from, std::size_t bytes, Device device);
/// Waits until the values are there, and throws what the device has reported (see problem.hpp).
void copy_to_host(void* to, const void* from, std::size_t bytes, Device device);
/// Copies within a device.
void copy_on_device(void* to, const void* from, std::size_t bytes, Device device);
/// Sets every byte.
void set_bytes(void* to, int value, std::size_t bytes, Device device);

/// Waits for everything that was begun on the device, and throws what it has reported.
void synchronize(Device device);

/// The device's stream, a cudaStream_t.
void* stream(Device device);

/// Makes `device` the one that the thread's next runtime calls go to.
void select(Device device);

/// With VLA_DEBUG_SYNC=1 in the environment waits for what was begun on behalf of `op`, and throws
/// what the device has reported.
void wait_if_debugging(const char* op, Device device);

}  // namespace vla::cuda
