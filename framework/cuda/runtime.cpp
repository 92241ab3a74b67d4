#include "framework/cuda/runtime.hpp"

#ifdef VLA_CUDA_BUILD

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>

#include "framework/cuda/launches.hpp"
#include "framework/cuda/problem.hpp"

namespace vla::cuda {
namespace {

constexpr int kMostDevices = 16;
constexpr int kStagingBlocks = 8;
constexpr std::size_t kStagingBytes = 1 << 20;

bool wait_after_each() {
  static const bool asked = [] {
    const char* text = std::getenv("VLA_DEBUG_SYNC");
    return text != nullptr && std::strcmp(text, "") != 0 && std::strcmp(text, "0") != 0;
  }();
  return asked;
}

// The device that the thread's runtime calls go to; -1: not known.
thread_local int selected_device = -1;

void check_call(cudaError_t status, const char* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // not to be seen again by a later check
  fail("cuda: ", call, ": ", cudaGetErrorString(status),
       wait_after_each() ? "" : " (VLA_DEBUG_SYNC=1 in the environment shows where)");
}

// Pinned memory through which small arrays go to the device, so that the host need not wait.
struct Staging {
  std::byte* block = nullptr;
  cudaEvent_t done = nullptr;
};

struct State {
  cudaStream_t stream = nullptr;
  ProblemNote* note = nullptr;
  std::array<Staging, kStagingBlocks> staging;
  unsigned next_staging = 0;
  std::mutex mutex;
};

struct Devices {
  int count = 0;
  std::string obstacle;
  std::array<Properties, kMostDevices> properties;
  std::array<std::unique_ptr<State>, kMostDevices> states;
  std::array<std::once_flag, kMostDevices> once, properties_read;

  Devices() {
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) {
      count = 0;
      obstacle = cudaGetErrorString(status);
      cudaGetLastError();
      return;
    }
    if (count == 0) obstacle = "this machine has no CUDA device";
    count = std::min(count, kMostDevices);
  }
};

// Never destroyed: tensors with static storage duration may outlive every other static.
Devices& devices() {
  static Devices& all = *new Devices;
  return all;
}

int checked_index(Device device) {
  check(!device.is_cpu() && device.index >= 0 && device.index < devices().count, "cuda: no device ",
        device, ": ", devices().count == 0 ? devices().obstacle : "its number is too high");
  return device.index;
}

State& state(Device device) {
  const int index = checked_index(device);
  Devices& all = devices();
  select(device);
  std::call_once(all.once[index], [&] {
    auto made = std::make_unique<State>();
    check_call(cudaStreamCreateWithFlags(&made->stream, cudaStreamNonBlocking), "create a stream");
    check_call(cudaMalloc(&made->note, sizeof(ProblemNote)), "allocate");
    check_call(cudaMemsetAsync(made->note, 0, sizeof(ProblemNote), made->stream), "clear");
    all.states[index] = std::move(made);
  });
  return *all.states[index];
}

Properties read_properties(int index) {
  cudaDeviceProp found{};
  check_call(cudaGetDeviceProperties(&found, index), "read properties");
  Properties result{.name = found.name,
                    .major = found.major,
                    .minor = found.minor,
                    .multiprocessors = found.multiProcessorCount,
                    .memory_bytes = found.totalGlobalMem,
                    .shared_bytes = found.sharedMemPerBlockOptin};
  check_call(cudaDriverGetVersion(&result.driver), "read the driver's version");
  check_call(cudaRuntimeGetVersion(&result.runtime), "read the runtime's version");
  return result;
}

bool capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status{};
  check_call(cudaStreamIsCapturing(stream, &status), "ask for a capture");
  return status != cudaStreamCaptureStatusNone;
}

// After the stream has been waited for.
void throw_reported(State& of_device) {
  ProblemNote note;
  check_call(
      cudaMemcpyAsync(&note, of_device.note, sizeof note, cudaMemcpyDeviceToHost, of_device.stream),
      "copy to the host");
  check_call(cudaStreamSynchronize(of_device.stream), "wait for the device");
  if (!note.taken) return;
  check_call(cudaMemsetAsync(of_device.note, 0, sizeof note, of_device.stream), "clear");
  throw_problem(note);
}

}  // namespace

int device_count() { return devices().count; }
std::string obstacle() { return devices().obstacle; }

const Properties& properties(Device device) {
  const int index = checked_index(device);
  Devices& all = devices();
  std::call_once(all.properties_read[index],
                 [&] { all.properties[index] = read_properties(index); });
  return all.properties[index];
}

Properties properties_now(Device device) {
  Properties result = properties(device);
  select(device);
  std::size_t all = 0;
  check_call(cudaMemGetInfo(&result.free_bytes, &all), "read the free memory");
  return result;
}

void check_status(int status, const char* op) { check_call(static_cast<cudaError_t>(status), op); }

void select(Device device) {
  if (selected_device == device.index) return;
  check_call(cudaSetDevice(checked_index(device)), "select a device");
  selected_device = device.index;
}

std::byte* allocate(std::size_t bytes, Device device) {
  state(device);
  void* block = nullptr;
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_call(status, "allocate");
  return static_cast<std::byte*>(block);
}

// At the end of a process the runtime may be gone before the last tensor.
void release(std::byte* block, Device device) {
  selected_device = -1;
  if (cudaSetDevice(device.index) != cudaSuccess || cudaFree(block) != cudaSuccess)
    cudaGetLastError();
}

void* stream(Device device) { return state(device).stream; }

void copy_to_device(void* to, const void* from, std::size_t bytes, Device device) {
  if (bytes == 0) return;
  State& of_device = state(device);
  check(!capturing(of_device.stream),
        "cuda: a value from the host is copied in a step that is being captured; copy it before");
  if (bytes > kStagingBytes) {
    check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, of_device.stream),
               "copy to the device");
    return check_call(cudaStreamSynchronize(of_device.stream), "wait for the device");
  }
  std::lock_guard lock(of_device.mutex);
  Staging& staging = of_device.staging[of_device.next_staging++ % kStagingBlocks];
  if (!staging.block) {
    check_call(cudaMallocHost(&staging.block, kStagingBytes), "allocate pinned memory");
    check_call(cudaEventCreateWithFlags(&staging.done, cudaEventDisableTiming), "create an event");
  }
  check_call(cudaEventSynchronize(staging.done), "wait for a copy");
  std::memcpy(staging.block, from, bytes);
  check_call(cudaMemcpyAsync(to, staging.block, bytes, cudaMemcpyHostToDevice, of_device.stream),
             "copy to the device");
  check_call(cudaEventRecord(staging.done, of_device.stream), "record an event");
}

void copy_to_host(void* to, const void* from, std::size_t bytes, Device device) {
  State& of_device = state(device);
  if (bytes > 0) {
    check(!capturing(of_device.stream),
          "cuda: a value is read in a step that is being captured; read it after the step");
    check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, of_device.stream),
               "copy to the host");
  }
  throw_reported(of_device);
}

void copy_on_device(void* to, const void* from, std::size_t bytes, Device device) {
  if (bytes == 0) return;
  Begun copy("copy", device);
  check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state(device).stream),
             "copy");
  copy.finish();
}

void set_bytes(void* to, int value, std::size_t bytes, Device device) {
  if (bytes == 0) return;
  Begun fill("fill", device);
  check_call(cudaMemsetAsync(to, value, bytes, state(device).stream), "fill");
  fill.finish();
}

void synchronize(Device device) {
  State& of_device = state(device);
  check_call(cudaStreamSynchronize(of_device.stream), "wait for the device");
  throw_reported(of_device);
}

ProblemNote* problem_note(Device device) { return state(device).note; }

void wait_if_debugging(const char* op, Device device) {
  State& of_device = state(device);
  if (!wait_after_each() || capturing(of_device.stream)) return;
  check_call(cudaStreamSynchronize(of_device.stream), op);
  throw_reported(of_device);
}

}  // namespace vla::cuda

#endif
