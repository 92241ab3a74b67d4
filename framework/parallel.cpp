#include "framework/parallel.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "framework/check.hpp"

namespace vla {
namespace {

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

std::atomic<int>& configured_threads() {
  static std::atomic<int> count = available_cores();
  return count;
}

thread_local bool inside = false;  // whether this thread runs a piece of a parallel_for

// One parallel_for at a time, cut into pieces that threads take when they get to it: a piece that
// no worker has begun is done by the caller, so that a busy machine never keeps it waiting for a
// thread that has no core.
class Job {
 public:
  Job(std::int64_t count, std::int64_t pieces,
      const std::function<void(std::int64_t, std::int64_t)>& work)
      : count_(count), pieces_(pieces), work_(work) {}

  // Takes pieces until none is left.
  void run() {
    inside = true;
    for (std::int64_t piece; (piece = next_++) < pieces_; ++done_) {
      try {
        work_(count_ * piece / pieces_, count_ * (piece + 1) / pieces_);
      } catch (...) {
        std::lock_guard lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
    inside = false;
  }
  bool finished() const { return done_ == pieces_; }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::int64_t count_, pieces_;
  const std::function<void(std::int64_t, std::int64_t)>& work_;
  std::atomic<std::int64_t> next_ = 0, done_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

// Waits for `condition` actively for a moment, since the next job usually follows at once. Returns
// whether it came to hold.
template <class Condition>
bool spin_until(Condition condition) {
  for (int i = 0; i < 4000; ++i) {
    if (condition()) return true;
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
  return false;
}

class Pool {
 public:
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // False, with nothing done, if the pool is taken by another thread's job.
  bool run(Job& job, int threads) {
    std::unique_lock only(one_job_, std::try_to_lock);
    if (!only) return false;
    while (static_cast<int>(workers_.size()) < threads - 1)
      workers_.emplace_back([this] { serve(); });
    {
      std::lock_guard lock(mutex_);
      job_ = &job;
      ++generation_;
    }
    wake_.notify_all();
    job.run();
    if (!spin_until([&] { return job.finished(); })) {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [&] { return job.finished(); });
    }
    {
      std::unique_lock lock(mutex_);
      job_ = nullptr;  // from here on no worker enters the job; those inside are waited for
      done_.wait(lock, [&] { return users_ == 0; });
    }
    return true;
  }

 private:
  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      spin_until([&] { return generation_ != seen || stopping_; });
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_ != seen || stopping_; });
      if (stopping_) return;
      seen = generation_;
      if (!job_) continue;
      Job& job = *job_;
      ++users_;
      lock.unlock();
      job.run();
      lock.lock();
      --users_;
      done_.notify_all();
    }
  }

  std::mutex one_job_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<std::uint64_t> generation_ = 0;
  std::atomic<bool> stopping_ = false;
  Job* job_ = nullptr;
  int users_ = 0;  // workers inside the job
  std::vector<std::thread> workers_;
};

}  // namespace

int thread_count() { return configured_threads(); }

void set_thread_count(int count) {
  check(count >= 1, "thread count ", count, " is not allowed; 1 or more");
  configured_threads() = count;
}

void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& work) {
  if (count <= 0) return;
  const std::int64_t most = (count + grain - 1) / std::max<std::int64_t>(grain, 1);
  const std::int64_t pieces = std::min<std::int64_t>(thread_count(), most);
  if (pieces <= 1 || inside) return work(0, count);

  static Pool pool;
  Job job(count, pieces, work);
  if (!pool.run(job, static_cast<int>(pieces))) job.run();
  job.rethrow();
}

}  // namespace vla
