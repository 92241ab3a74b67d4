#include "tasks/prefetch.hpp"

#include <utility>

namespace vla {

Prefetch::Prefetch(const Task& task, Index size, const RandomState& start, Index ahead)
    : task_(task), size_(size), ahead_(static_cast<std::size_t>(ahead)), state_(start) {
  check(size >= 0, "prefetch: batches of ", size, " examples are not allowed; 0 or more");
  check(ahead >= 1, "prefetch: ", ahead, " batches ahead are not allowed; 1 or more");
  thread_ = std::thread([this, start] { draw(Rng(start)); });
}

Prefetch::~Prefetch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Prefetch::draw(Rng rng) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || waiting_.size() < ahead_; });
    if (stopping_) return;
    lock.unlock();
    Drawn drawn;
    std::exception_ptr error;
    try {
      drawn = {task_.sample(size_, rng), rng.state()};
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error)
      error_ = error;
    else
      waiting_.push_back(std::move(drawn));
    changed_.notify_all();
    if (error) return;
  }
}

Batch Prefetch::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !waiting_.empty() || error_; });
  if (waiting_.empty()) std::rethrow_exception(error_);
  Drawn drawn = std::move(waiting_.front());
  waiting_.pop_front();
  changed_.notify_all();
  state_ = drawn.after;
  return std::move(drawn.batch);
}

}  // namespace vla
