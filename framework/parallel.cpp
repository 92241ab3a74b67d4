#include "framework/parallel.hpp"

#include <omp.h>

#include <algorithm>
#include <exception>

#include "framework/check.hpp"

namespace vla {
namespace {

int& configured_threads() {
  static int count = omp_get_num_procs();
  return count;
}

}  // namespace

int thread_count() { return configured_threads(); }

void set_thread_count(int count) {
  check(count >= 1, "thread count ", count, " is not allowed; 1 or more");
  configured_threads() = count;
}

void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& work) {
  if (count <= 0) return;
  const std::int64_t pieces = std::min<std::int64_t>(
      thread_count(), (count + grain - 1) / std::max<std::int64_t>(grain, 1));
  if (pieces <= 1 || omp_in_parallel()) return work(0, count);

  std::exception_ptr error;
#pragma omp parallel for num_threads(static_cast <int>(pieces)) schedule(static, 1)
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    try {
      work(count * piece / pieces, count * (piece + 1) / pieces);
    } catch (...) {
#pragma omp critical(vla_parallel_error)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace vla
