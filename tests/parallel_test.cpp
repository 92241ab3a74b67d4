// Work split over threads.

#include "framework/parallel.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include "tests/compare.hpp"

namespace vla {
namespace {

// Sets the number of threads while it lives.
struct Threads {
  explicit Threads(int count) : before(thread_count()) { set_thread_count(count); }
  ~Threads() { set_thread_count(before); }
  int before;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(parallel)

BOOST_AUTO_TEST_CASE(every_index_is_visited_once) {
  for (int threads : {1, 2, 5}) {
    const Threads scope(threads);
    for (std::int64_t count : {0, 1, 2, 7, 1000})
      for (std::int64_t grain : {1, 3, 10'000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        for (const auto& visit : visits)
          BOOST_TEST(visit == 1, threads << " threads, " << count << " by " << grain);
      }
  }
}

BOOST_AUTO_TEST_CASE(little_work_stays_on_this_thread) {
  const Threads scope(4);
  int calls = 0;
  bool here = false;
  const auto self = std::this_thread::get_id();
  parallel_for(100, 100, [&](std::int64_t begin, std::int64_t end) {
    ++calls;
    here = std::this_thread::get_id() == self && begin == 0 && end == 100;
  });
  BOOST_TEST(calls == 1);
  BOOST_TEST(here);
}

BOOST_AUTO_TEST_CASE(much_work_is_split) {
  const Threads scope(2);
  std::atomic<int> pieces = 0;
  parallel_for(100, 1, [&](std::int64_t, std::int64_t) { ++pieces; });
  BOOST_TEST(pieces == 2);
}

BOOST_AUTO_TEST_CASE(work_inside_work_is_not_split_again) {
  const Threads scope(2);
  std::atomic<int> inner = 0;
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    parallel_for(100, 1, [&](std::int64_t, std::int64_t) { ++inner; });
  });
  BOOST_TEST(inner == 2);
}

BOOST_AUTO_TEST_CASE(an_exception_passes_through) {
  for (int threads : {1, 3}) {
    const Threads scope(threads);
    BOOST_CHECK_EXCEPTION(parallel_for(30, 1,
                                       [](std::int64_t, std::int64_t end) {
                                         if (end == 30) throw Error("the last piece failed");
                                       }),
                          Error, says("the last piece failed"));
  }
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_is_one_or_more) {
  BOOST_CHECK_EXCEPTION(set_thread_count(0), Error,
                        says("thread count 0 is not allowed; 1 or more"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
