// Examples of a task as plain lists, for tests of what a task is.
#pragma once

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "framework/check.hpp"
#include "tasks/task.hpp"
#include "tests/error_of.hpp"

namespace vla {

struct TaskExample {
  std::vector<Index> tokens, targets;
};

inline std::vector<TaskExample> task_examples(const Task& task, Index count,
                                              std::uint64_t seed = 1) {
  Rng rng(seed);
  const Batch batch = task.sample(count, rng);
  BOOST_REQUIRE_EQUAL(batch.tokens.shape(), Shape({count, task.length()}));
  BOOST_REQUIRE_EQUAL(batch.targets.shape(), Shape({count, task.length()}));
  std::vector<TaskExample> result;
  for (Index b = 0; b < count; ++b) {
    const auto row = [&](const Tensor& all) {
      const Index* start = all.data<Index>() + b * task.length();
      return std::vector<Index>(start, start + task.length());
    };
    result.push_back({row(batch.tokens), row(batch.targets)});
  }
  return result;
}

/// The accuracy of guess(example, place), a token, over the places with a target.
template <class Guess>
double guessed_accuracy(const std::vector<TaskExample>& examples, Guess&& guess) {
  Score score;
  for (const TaskExample& example : examples)
    for (std::size_t t = 0; t < example.targets.size(); ++t)
      if (example.targets[t] != kIgnoredTarget)
        score += {.right = guess(example, t) == example.targets[t], .counted = 1};
  BOOST_REQUIRE(score.counted > 0);
  return score.accuracy();
}

/// What the constructor of the task says against these options.
template <class Kind, class Options>
std::string refusal(const Options& options) {
  return error_of([&] { Kind task(options); });
}

}  // namespace vla
