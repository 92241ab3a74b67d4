// Work split over the cores of the CPU.
#pragma once

#include <cstdint>
#include <functional>

namespace vla {

/// The number of CPU threads the project uses; at first the number of cores this process may use.
int thread_count();
/// Sets it. Throws Error unless `count` is 1 or more.
void set_thread_count(int count);

/// Calls `work(begin, end)` on ranges that together cover [0, count), from several threads when
/// there is more than one `grain` of work. Inside `work` nothing else runs in parallel. The ranges
/// depend on nothing but `count`, `grain` and the number of threads. The first exception thrown by
/// `work` is thrown again here.
void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& work);

}  // namespace vla
