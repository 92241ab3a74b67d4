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

double seconds_between(void* earlier, void* later) {
  float milliseconds = 0;
  check_status(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(earlier),
                                    static_cast<cudaEvent_t>(later)),
               "measure time");
  return 1e-3 * static_cast<double>(milliseconds);
}

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

// One at a time is measured.
struct ActiveProfile {
  Device device;
  double nothing;  // seconds between two points in a row
  Timer beginning;
  std::vector<TimedLaunch> launches = {};

  explicit ActiveProfile(Device on) : device(on), nothing(seconds_of_nothing(on)), beginning(on) {
    beginning.start();
  }
};
std::unique_ptr<ActiveProfile> active_profile;

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
  active_profile = std::make_unique<ActiveProfile>(device);
}

Profile::~Profile() { active_profile = nullptr; }

std::size_t Profile::count() const { return active_profile->launches.size(); }

std::vector<Profile::Launch> Profile::launches() const {
  synchronize(device_);
  std::vector<Launch> result;
  for (const TimedLaunch& launch : active_profile->launches)
    result.push_back({launch.op, launch.timer->seconds_after(active_profile->beginning),
                      std::max(0.0, launch.timer->seconds() - active_profile->nothing)});
  return result;
}

std::vector<Profile::Row> Profile::rows() const {
  std::map<std::string, Row> by_op;
  for (const Launch& launch : launches()) {
    Row& row = by_op[launch.op];
    row.op = launch.op;
    row.launches += 1;
    row.seconds += launch.seconds;
  }
  std::vector<Row> result;
  for (const auto& [op, row] : by_op) result.push_back(row);
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
  return seconds_between(start_, stop_);
}

double Timer::seconds_after(const Timer& earlier) const {
  check_status(cudaEventSynchronize(static_cast<cudaEvent_t>(start_)), "wait for the device");
  return seconds_between(earlier.start_, start_);
}

}  // namespace vla::cuda

#endif
