// Associative recall by its definition, and what takes no skill.
#include "tasks/associative_recall.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <set>

#include "tests/task_examples.hpp"

namespace vla {
namespace {

using Options = AssociativeRecallOptions;

std::map<Index, Index> context_of(const TaskExample& example, const Options& options) {
  std::map<Index, Index> context;
  for (Index i = 0; i < options.pairs; ++i) {
    const auto place = static_cast<std::size_t>(i * (2 + options.distractors));
    context.emplace(example.tokens[place], example.tokens[place + 1]);
  }
  return context;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(associative_recall)

BOOST_AUTO_TEST_CASE(queries_are_answered_by_the_value_of_their_key) {
  for (const Options& options :
       {Options{}, Options{.vocabulary = 2, .pairs = 1, .queries = 1},
        Options{.vocabulary = 16, .pairs = 15, .queries = 15},
        Options{.pairs = 4, .queries = 2, .distractors = 3},
        Options{.vocabulary = 6, .pairs = 4, .queries = 1, .distractors = 1},
        Options{.pairs = 3, .queries = 20, .repeat_queries = true}}) {
    const AssociativeRecall task(options);
    const Index step = 2 + options.distractors, end = options.pairs * step;
    BOOST_TEST(task.length() == end + 1 + options.queries);
    for (const TaskExample& example : task_examples(task, 30)) {
      const std::map<Index, Index> context = context_of(example, options);
      BOOST_TEST(context.size() == static_cast<std::size_t>(options.pairs));  // keys are distinct
      std::set<Index> asked;
      for (Index t = 0; t < task.length(); ++t) {
        const Index token = example.tokens[static_cast<std::size_t>(t)];
        const Index target = example.targets[static_cast<std::size_t>(t)];
        BOOST_TEST((t == end ? token == options.vocabulary - 1
                             : token >= 0 && token < options.vocabulary - 1));
        if (t <= end) {
          BOOST_TEST(target == kIgnoredTarget);
        } else {
          BOOST_REQUIRE(context.contains(token));
          BOOST_TEST(target == context.at(token));
          asked.insert(token);
        }
        if (t < end && t % step >= 2) BOOST_TEST(!context.contains(token));
      }
      if (!options.repeat_queries)
        BOOST_TEST(asked.size() == static_cast<std::size_t>(options.queries));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_usual_sizes_are_the_published_ones) {
  BOOST_TEST(AssociativeRecall().length() == 36);
  BOOST_TEST(AssociativeRecall({.pairs = 4, .queries = 2}).length() == 11);
}

BOOST_AUTO_TEST_CASE(values_repeat_and_look_like_keys_and_distractors_vary) {
  const Options options{.distractors = 2};
  bool repeated_value = false, key_as_value = false;
  std::set<Index> distractors, keys, values;
  for (const TaskExample& example : task_examples(AssociativeRecall(options), 300)) {
    std::set<Index> here;
    const std::map<Index, Index> context = context_of(example, options);
    for (const auto& [key, value] : context) {
      here.insert(value);
      keys.insert(key);
      values.insert(value);
      key_as_value |= context.contains(value);
    }
    repeated_value |= here.size() < context.size();
    for (std::size_t t = 0; t < 60; ++t)
      if (t % 4 >= 2) distractors.insert(example.tokens[t]);
  }
  BOOST_TEST(repeated_value);
  BOOST_TEST(key_as_value);
  for (const std::set<Index>& drawn : {distractors, keys, values}) BOOST_TEST(drawn.size() == 99);
}

BOOST_AUTO_TEST_CASE(every_pair_is_asked_equally_often_in_any_order) {
  for (bool repeat : {false, true}) {
    const Options options{.pairs = 5, .queries = 3, .repeat_queries = repeat};
    const Index count = 3000;
    std::map<std::pair<std::size_t, std::size_t>, double> drawn;  // query and pair
    bool repeated = false;
    for (const TaskExample& example : task_examples(AssociativeRecall(options), count)) {
      const auto asked = [&](std::size_t query) { return example.tokens[11 + query]; };
      for (std::size_t query = 0; query < 3; ++query)
        for (std::size_t pair = 0; pair < 5; ++pair)
          drawn[{query, pair}] += example.tokens[2 * pair] == asked(query);
      repeated |= asked(0) == asked(1);
    }
    BOOST_TEST(repeated == repeat);
    const double deviation = std::sqrt(count * 0.2 * 0.8);
    for (const auto& [place, times] : drawn)
      BOOST_TEST(std::abs(times - count * 0.2) < 5 * deviation);
  }
}

BOOST_AUTO_TEST_CASE(chance_is_what_the_most_frequent_value_reaches) {
  for (const Options& options :
       {Options{}, Options{.vocabulary = 8, .pairs = 4, .queries = 2},
        Options{.pairs = 10, .queries = 40, .distractors = 1, .repeat_queries = true}}) {
    const AssociativeRecall task(options);
    const auto most_frequent = [&](const TaskExample& example, std::size_t) {
      std::map<Index, int> frequency;
      for (const auto& [key, value] : context_of(example, options)) ++frequency[value];
      return std::ranges::max_element(frequency, {}, [](const auto& entry) { return entry.second; })
          ->first;
    };
    BOOST_TEST(task.chance() == guessed_accuracy(task_examples(task, 10000), most_frequent),
               boost::test_tools::tolerance(0.03));
  }
  BOOST_TEST(AssociativeRecall({.pairs = 1, .queries = 1}).chance() == 1);
}

BOOST_AUTO_TEST_CASE(settings_without_room_are_refused_with_what_is_allowed) {
  const auto message = refusal<AssociativeRecall, Options>;
  BOOST_TEST(message({.vocabulary = 65, .pairs = 70}) ==
             "associative-recall: pairs 70 needs at least 70 keys, vocabulary has 64 and the query "
             "token");
  BOOST_TEST(message({.vocabulary = 16, .distractors = 1}) ==
             "associative-recall: pairs 15 leaves no token for distractors, vocabulary has 15 and "
             "the query token; 14 pairs or less");
  BOOST_TEST(message({.queries = 16}) ==
             "associative-recall: queries 16 out of 15 pairs is not allowed; 1 to 15, or more with "
             "repeat-queries");
  BOOST_TEST(message({.queries = 16, .repeat_queries = true}) == "accepted");
  BOOST_TEST(message({.pairs = 0}).starts_with("associative-recall: pairs 0 is not allowed; 1 to"));
  BOOST_TEST(message({.queries = 0}).starts_with("associative-recall: queries 0 is not allowed"));
  BOOST_TEST(message({.distractors = -1})
                 .starts_with("associative-recall: distractors -1 is not allowed; 0 to"));
  BOOST_TEST(message({.vocabulary = 1})
                 .starts_with("associative-recall: vocabulary 1 is not allowed; 2 to"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
