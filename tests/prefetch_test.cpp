// Batches drawn ahead: those that would have been drawn, errors included.
#include "tasks/prefetch.hpp"

#include <algorithm>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>

#include "tasks/tasks.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

// Fails at its third batch, or never.
class Counting : public Task {
 public:
  explicit Counting(int fails_at = 0) : fails_at_(fails_at) {}
  Index vocabulary() const override { return 10; }
  Index length() const override { return 4; }
  double chance() const override { return 0; }
  Batch sample(Index size, Rng& rng) const override {
    if (++drawn_ == fails_at_) fail("counting: batch ", fails_at_, " is damaged");
    return write_batch("counting", size, length(), [&](auto tokens, auto) {
      for (Index& token : tokens) token = rng.below(10);
    });
  }
  int drawn() const { return drawn_; }

 private:
  int fails_at_;
  mutable std::atomic<int> drawn_ = 0;
};

bool same(const Tensor& a, const Tensor& b) {
  return std::ranges::equal(a.values<Index>(), b.values<Index>());
}

// Until the thread has drawn so many, or for two seconds.
void wait_for(const Counting& task, int drawn) {
  for (int i = 0; i < 2000 && task.drawn() < drawn; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(prefetch)

BOOST_AUTO_TEST_CASE(the_batches_are_those_of_the_task_in_their_order) {
  for (const char* name : {"mqar", "listops", "pathfinder", "kinship"}) {
    const auto task = make_task(name, {.length = std::string(name) == "listops" ? 64 : 0});
    for (Index ahead : {1, 2, 5}) {
      Rng rng(3, 1);
      task->sample(2, rng);
      Prefetch prefetch(*task, 3, rng.state(), ahead);
      BOOST_TEST((prefetch.state() == rng.state()));
      for (int i = 0; i < 6; ++i) {
        const Batch expected = task->sample(3, rng), batch = prefetch.next();
        BOOST_TEST(same(batch.tokens, expected.tokens));
        BOOST_TEST(same(batch.targets, expected.targets));
        BOOST_TEST((prefetch.state() == rng.state()));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(no_more_is_drawn_than_may_wait) {
  const Counting task;
  {
    Prefetch prefetch(task, 1, {}, 3);
    wait_for(task, 3);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    BOOST_TEST(task.drawn() == 3);
    prefetch.next();
    wait_for(task, 4);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    BOOST_TEST(task.drawn() == 4);
  }
  BOOST_TEST(task.drawn() == 4);
}

BOOST_AUTO_TEST_CASE(an_error_comes_after_the_batches_before_it_and_stays) {
  const Counting task(3);
  Prefetch prefetch(task, 2, {});
  wait_for(task, 3);
  Rng rng{RandomState{}};
  const Counting fine;
  for (int i = 0; i < 2; ++i) BOOST_TEST(same(prefetch.next().tokens, fine.sample(2, rng).tokens));
  for (int i = 0; i < 2; ++i)
    BOOST_CHECK_EXCEPTION(prefetch.next(), Error, says("counting: batch 3 is damaged"));
  BOOST_TEST((prefetch.state() == rng.state()));
  BOOST_TEST(task.drawn() == 3);
}

BOOST_AUTO_TEST_CASE(it_stops_whenever_it_is_left) {
  const auto task = make_task("pathfinder");
  for (int i = 0; i < 30; ++i) {
    Prefetch prefetch(*task, 8, {});
    for (int j = 0; j < i % 3; ++j) prefetch.next();
  }
  const Counting broken(1);
  for (int i = 0; i < 30; ++i) Prefetch prefetch(broken, 1, {});
  BOOST_CHECK_EXCEPTION(Prefetch(broken, -1, {}), Error,
                        says("prefetch: batches of -1 examples are not allowed; 0 or more"));
  BOOST_CHECK_EXCEPTION(Prefetch(broken, 1, {}, 0), Error,
                        says("prefetch: 0 batches ahead are not allowed; 1 or more"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
