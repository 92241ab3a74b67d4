// Batches drawn ahead on a thread of their own, while others are learned from.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "tasks/task.hpp"

namespace vla {

/// The batches that task.sample(size, rng) would give one after the other: the same ones, in the
/// same order. The task must outlive it and bear being sampled on another thread, as all that are
/// here do, since sampling changes nothing in them.
class Prefetch {
 public:
  /// Begins at once; at most `ahead` batches wait. Throws Error for a negative size or less than
  /// one batch ahead.
  Prefetch(const Task& task, Index size, const RandomState& start, Index ahead = 2);
  /// Waits for the batch that is being drawn.
  ~Prefetch();
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  /// The next batch; waits for it if need be. Throws what sampling it threw, then and ever after.
  Batch next();
  /// The state of the generator after the batches that `next` gave: where another one goes on.
  const RandomState& state() const { return state_; }

 private:
  struct Drawn {
    Batch batch;
    RandomState after;
  };
  void draw(Rng rng);

  const Task& task_;
  Index size_;
  std::size_t ahead_;
  RandomState state_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Drawn> waiting_;
  std::exception_ptr error_;  // after the batches that wait
  bool stopping_ = false;
  std::thread thread_;  // the last, so that it finds all others made
};

}  // namespace vla
