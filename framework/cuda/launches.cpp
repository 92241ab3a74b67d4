#include "framework/cuda/launches.hpp"

#ifdef VLA_CUDA_BUILD

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>

#include "framework/cuda/runtime.hpp"

namespace vla::cuda {
namespace {

std::atomic<std::int64_t> launch_count{0};

struct TimedLaunch {
  const char* op;
  std::unique_ptr<Timer> timer;
};

// One at a time is measured.
struct ActiveProfile {
  Device device;
  double nothing;  // seconds between two points in a row
  std::vector<TimedLaunch> launches = {};
  std::map<std::string, Profile::Row> rows = {};
};
std::unique_ptr<ActiveProfile> active_profile;

double seconds_of_nothing(Device device) {
  std::vector<double> nothing;
  for (int i = 0; i < 21; ++i) {
    Timer timer(device);
    timer.start();
    timer.stop();
    nothing.push_back(timer.seconds());
  }
  std::ranges::sort(nothing);
  return nothing[nothing.size() / 2];
}

}  // namespace

Begun::Begun(const char* op, Device device) : op_(op), device_(device) {
  select(device);
  launch_count.fetch_add(1, std::memory_order_relaxed);
  if (!active_profile || active_profile->device != device) return;
  timer_ = static_cast<int>(active_profile->launches.size());
  active_profile->launches.push_back({op, std::make_unique<Timer>(device)});
  active_profile->launches.back().timer->start();
}

void Begun::finish() {
  check_status(cudaGetLastError(), op_);
  if (timer_ >= 0 && active_profile)
    active_profile->launches[static_cast<std::size_t>(timer_)].timer->stop();
  wait_if_debugging(op_, device_);
}

std::int64_t launches() { return launch_count; }

Profile::Profile(Device device) : device_(device) {
  check(!active_profile, "cuda: a profile is being made already");
  synchronize(device);
  active_profile = std::make_unique<ActiveProfile>(
      ActiveProfile{.device = device, .nothing = seconds_of_nothing(device)});
}

Profile::~Profile() { active_profile = nullptr; }

std::vector<Profile::Row> Profile::rows() {
  synchronize(device_);
  for (const TimedLaunch& launch : active_profile->launches) {
    Row& row = active_profile->rows[launch.op];
    row.op = launch.op;
    row.launches += 1;
    row.seconds += std::max(0.0, launch.timer->seconds() - active_profile->nothing);
  }
  active_profile->launches.clear();
  std::vector<Row> result;
  for (const auto& [op, row] : active_profile->rows) result.push_back(row);
  std::ranges::sort(result, [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  return result;
}

Timer::Timer(Device device) : device_(device) {
  select(device);
  cudaEvent_t event = nullptr;
  for (void** place : {&start_, &stop_}) {
    check_status(cudaEventCreate(&event), "create an event");
    *place = event;
  }
}

Timer::~Timer() {
  for (void* event : {start_, stop_}) cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

void Timer::start() {
  check_status(
      cudaEventRecord(static_cast<cudaEvent_t>(start_), static_cast<cudaStream_t>(stream(device_))),
      "record an event");
}

void Timer::stop() {
  check_status(
      cudaEventRecord(static_cast<cudaEvent_t>(stop_), static_cast<cudaStream_t>(stream(device_))),
      "record an event");
}

double Timer::seconds() const {
  check_status(cudaEventSynchronize(static_cast<cudaEvent_t>(stop_)), "wait for the device");
  float milliseconds = 0;
  check_status(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(start_),
                                    static_cast<cudaEvent_t>(stop_)),
               "measure time");
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace vla::cuda

#endif
