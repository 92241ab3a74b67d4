// The task Pathfinder: what its examples hold, and which settings it refuses.
#include "tasks/pathfinder.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "framework/parallel.hpp"
#include "tests/compare.hpp"
#include "tests/task_examples.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(pathfinder)

BOOST_AUTO_TEST_CASE(an_example_is_an_image_and_whether_it_is_connected) {
  const Pathfinder task;
  BOOST_TEST(task.length() == 1024);
  BOOST_TEST(task.vocabulary() == 259);
  BOOST_TEST(task.chance() == 0.5);
  BOOST_TEST(task.fingerprint() == "");
  int connected = 0;
  for (const TaskExample& example : task_examples(task, 1000)) {
    BOOST_TEST(std::ranges::max(example.tokens) == 256);
    BOOST_TEST(std::ranges::min(example.tokens) == 1);
    BOOST_TEST(std::ranges::count(example.targets, kIgnoredTarget) == 1023);
    BOOST_TEST((example.targets.back() == 257 || example.targets.back() == 258));
    connected += example.targets.back() == 258;
  }
  BOOST_TEST(std::abs(connected - 500) < 80);
}

BOOST_AUTO_TEST_CASE(a_batch_does_not_depend_on_the_number_of_threads) {
  const Pathfinder task({.contour = 6});
  const int threads = thread_count();
  std::vector<std::vector<TaskExample>> drawn;
  for (int count : {1, 3}) {
    set_thread_count(count);
    drawn.push_back(task_examples(task, 20));
  }
  set_thread_count(threads);
  for (std::size_t i = 0; i < 20; ++i) {
    BOOST_TEST(drawn[0][i].tokens == drawn[1][i].tokens);
    BOOST_TEST(drawn[0][i].targets == drawn[1][i].targets);
  }
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto refused = [](const PathfinderOptions& options) {
    return refusal<Pathfinder>(options);
  };
  for (Index length : {1024, 4096, 16384, 65536})
    BOOST_TEST(refused({.length = length}) == "accepted");
  for (Index length : {-1, 0, 32, 1000, 262144})
    BOOST_TEST(refused({.length = length}) ==
               concatenate("pathfinder: length ", length,
                           " is not allowed; 1024, 4096, 16384 or 65536, the pixels of a square "
                           "image"));
  BOOST_TEST(refused({.contour = 7}) == "pathfinder: contour 7 is not allowed; 6, 9 or 14");
  BOOST_TEST(refused({.held_out = "all"}) ==
             "pathfinder: held-out 'all' is not allowed; val or test");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
