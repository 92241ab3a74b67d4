#include "framework/cuda/runtime.hpp"

#ifdef VLA_CUDA_BUILD

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

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

[[noreturn]] void throw_problem(const ProblemNote& note) {
  const std::string place =
      concatenate(" of sequence ", note.sequence, ", head ", note.head, " at token ", note.time);
  switch (note.problem) {
    case Problem::token:
      fail("embedding: token ", note.value, " is out of range; allowed: 0 to ", note.limit - 1);
    case Problem::target:
      fail("cross_entropy: target ", note.value, " is out of range; allowed: 0 to ", note.limit - 1,
           ", or the index to ignore");
    case Problem::gradient_norm:
      fail("optimizer: the gradients' norm is ", note.number,
           "; a finite one is needed to clip; nothing was moved, a lower learning rate may help");
    case Problem::lambda0:
      fail("inverse penalty: lambda0 of head ", note.head, " is ", note.number,
           "; a positive number is needed");
    case Problem::penalty_direction:
      fail("inverse penalty: the direction", place, " is not finite");
    case Problem::penalty_vector:
      fail("inverse penalty: the vector", place, " is not finite");
    case Problem::penalty_upstream:
      fail("inverse penalty: the upstream gradient", place, " is not finite");
    case Problem::penalty_forget:
      fail("inverse penalty: forgetting factor ", note.number, place, "; 0 < gamma <= 1 is needed");
    case Problem::penalty_weight:
      fail("inverse penalty: weight ", note.number, place, "; 0 or more is needed");
    case Problem::penalty_not_definite:
      fail("inverse penalty: M", place, " is not positive definite or not finite");
    case Problem::relation:
      fail("symbolic penalty: a relation of token ", note.time, " of sequence ", note.sequence,
           " is ", note.number, "; 0 or a finite number above it is needed");
    case Problem::stabilized_not_definite:
      fail("stabilized_recurrence: the penalty", place, " is not positive definite or not finite");
    case Problem::none:
      break;
  }
  fail("cuda: a kernel reported a problem without a name");
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

std::atomic<std::int64_t> launch_count{0};

struct ProfileTimer {
  const char* op;
  cudaEvent_t begin, end;
};

// One at a time is measured.
struct ActiveProfile {
  Device device;
  std::vector<ProfileTimer> timers;
  std::map<std::string, Profile::Row> rows;
  double nothing = 0;  // seconds between two events in a row
};
ActiveProfile* active_profile = nullptr;

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

// --- launches, profile, timer -------------------------------------------------------------------

Begun::Begun(const char* op, Device device) : op_(op), device_(device) {
  select(device);
  launch_count.fetch_add(1, std::memory_order_relaxed);
  ActiveProfile* profile = active_profile;
  if (!profile || profile->device != device) return;
  ProfileTimer timer{op, nullptr, nullptr};
  check_call(cudaEventCreate(&timer.begin), "create an event");
  check_call(cudaEventCreate(&timer.end), "create an event");
  check_call(cudaEventRecord(timer.begin, state(device).stream), "record an event");
  timer_ = static_cast<int>(profile->timers.size());
  profile->timers.push_back(timer);
}

void Begun::finish() {
  check_call(cudaGetLastError(), op_);
  if (timer_ >= 0 && active_profile)
    check_call(cudaEventRecord(active_profile->timers[static_cast<std::size_t>(timer_)].end,
                               state(device_).stream),
               "record an event");
  State& of_device = state(device_);
  if (!wait_after_each() || capturing(of_device.stream)) return;
  check_call(cudaStreamSynchronize(of_device.stream), op_);
  throw_reported(of_device);
}

std::int64_t launches() { return launch_count; }

Profile::Profile(Device device) : device_(device) {
  check(active_profile == nullptr, "cuda: a profile is being made already");
  synchronize(device);
  std::vector<double> nothing;
  for (int i = 0; i < 21; ++i) {
    Timer timer(device);
    timer.start();
    timer.stop();
    nothing.push_back(timer.seconds());
  }
  std::ranges::sort(nothing);
  active_profile = new ActiveProfile{device, {}, {}, nothing[nothing.size() / 2]};
}

Profile::~Profile() {
  for (const ProfileTimer& timer : active_profile->timers) {
    cudaEventDestroy(timer.begin);
    cudaEventDestroy(timer.end);
  }
  delete active_profile;
  active_profile = nullptr;
}

std::vector<Profile::Row> Profile::rows() {
  synchronize(device_);
  for (const ProfileTimer& timer : active_profile->timers) {
    float milliseconds = 0;
    check_call(cudaEventElapsedTime(&milliseconds, timer.begin, timer.end), "measure time");
    Row& row = active_profile->rows[timer.op];
    row.op = timer.op;
    row.launches += 1;
    row.seconds +=
        std::max(0.0, 1e-3 * static_cast<double>(milliseconds) - active_profile->nothing);
    cudaEventDestroy(timer.begin);
    cudaEventDestroy(timer.end);
  }
  active_profile->timers.clear();
  std::vector<Row> result;
  for (const auto& [op, row] : active_profile->rows) result.push_back(row);
  std::ranges::sort(result, [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  return result;
}

Timer::Timer(Device device) : device_(device) {
  select(device);
  cudaEvent_t event = nullptr;
  for (void** place : {&start_, &stop_}) {
    check_call(cudaEventCreate(&event), "create an event");
    *place = event;
  }
}

Timer::~Timer() {
  for (void* event : {start_, stop_}) cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

void Timer::start() {
  check_call(cudaEventRecord(static_cast<cudaEvent_t>(start_), state(device_).stream),
             "record an event");
}

void Timer::stop() {
  check_call(cudaEventRecord(static_cast<cudaEvent_t>(stop_), state(device_).stream),
             "record an event");
}

double Timer::seconds() const {
  check_call(cudaEventSynchronize(static_cast<cudaEvent_t>(stop_)), "wait for the device");
  float milliseconds = 0;
  check_call(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(start_),
                                  static_cast<cudaEvent_t>(stop_)),
             "measure time");
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace vla::cuda

#endif
