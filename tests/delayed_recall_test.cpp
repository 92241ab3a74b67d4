// Delayed recall by its definition, and what takes no skill.
#include "tasks/delayed_recall.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>

#include "tests/task_examples.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(delayed_recall)

BOOST_AUTO_TEST_CASE(the_target_is_the_token_of_d_places_before) {
  for (const DelayedRecallOptions& options :
       {DelayedRecallOptions{}, DelayedRecallOptions{.delay = 1, .length = 2},
        DelayedRecallOptions{.vocabulary = 2, .delay = 7, .length = 30},
        DelayedRecallOptions{.delay = 1000}}) {
    for (const TaskExample& example : task_examples(DelayedRecall(options), 10)) {
      const auto delay = static_cast<std::size_t>(options.delay);
      for (std::size_t t = 0; t < example.tokens.size(); ++t) {
        BOOST_TEST((example.tokens[t] >= 1 && example.tokens[t] < options.vocabulary));
        BOOST_TEST(example.targets[t] == (t < delay ? kIgnoredTarget : example.tokens[t - delay]));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_usual_length_asks_at_half_of_the_places_or_more) {
  BOOST_TEST(DelayedRecall().length() == 200);
  BOOST_TEST(DelayedRecall({.delay = 100}).length() == 200);
  BOOST_TEST(DelayedRecall({.delay = 101}).length() == 202);
  BOOST_TEST(DelayedRecall({.delay = 1000}).length() == 2000);
  BOOST_TEST(DelayedRecall({.delay = 1000, .length = 2500}).length() == 2500);
}

BOOST_AUTO_TEST_CASE(tokens_are_uniform) {
  std::map<Index, double> drawn;
  for (const TaskExample& example : task_examples(DelayedRecall(), 200))
    for (Index token : example.tokens) ++drawn[token];
  BOOST_TEST(drawn.size() == 19);
  const double expected = 200 * 200 / 19.0;
  for (const auto& [token, count] : drawn)
    BOOST_TEST(std::abs(count - expected) < 5 * std::sqrt(expected));
}

// Not even the tokens at all other distances up to 2D help.
BOOST_AUTO_TEST_CASE(only_the_token_of_d_places_before_gives_the_answer) {
  const DelayedRecall task({.vocabulary = 5, .delay = 4, .length = 40});
  const auto examples = task_examples(task, 1000);
  for (std::size_t distance = 0; distance <= 8; ++distance) {
    const double accuracy =
        guessed_accuracy(examples, [distance](const TaskExample& example, std::size_t t) {
          return t < distance ? 1 : example.tokens[t - distance];
        });
    if (distance == 4)
      BOOST_TEST(accuracy == 1);
    else
      BOOST_TEST(accuracy == task.chance(), boost::test_tools::tolerance(0.05));
  }
}

BOOST_AUTO_TEST_CASE(chance_is_what_a_constant_guess_reaches) {
  for (Index vocabulary : {20, 4, 2}) {
    const DelayedRecall task({.vocabulary = vocabulary});
    const double accuracy = guessed_accuracy(task_examples(task, 1000),
                                             [](const TaskExample&, std::size_t) { return 1; });
    BOOST_TEST(task.chance() == accuracy, boost::test_tools::tolerance(0.03));
  }
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto message = refusal<DelayedRecall, DelayedRecallOptions>;
  BOOST_TEST(message({.vocabulary = 1}) ==
             "delayed-recall: vocabulary 1 is not allowed; 2 to 16777216");
  BOOST_TEST(message({.delay = 0}).starts_with("delayed-recall: delay 0 is not allowed; 1 to "));
  BOOST_TEST(message({.delay = Index{1} << 62}).starts_with("delayed-recall: delay 46"));
  BOOST_TEST(
      message({.delay = 60, .length = 119})
          .starts_with("delayed-recall: length 119 is not allowed for a delay of 60; 120 to "));
  BOOST_TEST(message({.length = -1}).starts_with("delayed-recall: length -1 is not allowed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
