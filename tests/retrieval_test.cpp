// Retrieval by its definition, and what takes no skill.
#include "tasks/retrieval.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "tests/task_examples.hpp"

namespace vla {
namespace {

std::map<Index, Index> context_of(const TaskExample& example, const RetrievalOptions& options) {
  std::map<Index, Index> context;
  for (std::size_t i = 0; i < static_cast<std::size_t>(options.pairs); ++i)
    context.emplace(example.tokens[2 * i], example.tokens[2 * i + 1]);
  return context;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(retrieval)

BOOST_AUTO_TEST_CASE(the_last_token_asks_for_one_of_the_pairs) {
  for (const RetrievalOptions& options :
       {RetrievalOptions{}, RetrievalOptions{.vocabulary = 2, .pairs = 1, .length = 3},
        RetrievalOptions{.pairs = 31, .length = 63}, RetrievalOptions{.length = 1024}}) {
    for (const TaskExample& example : task_examples(Retrieval(options), 50)) {
      const std::map<Index, Index> context = context_of(example, options);
      BOOST_TEST(context.size() == static_cast<std::size_t>(options.pairs));  // keys are distinct
      const std::size_t last = example.tokens.size() - 1;
      for (std::size_t t = 0; t < last; ++t) {
        const Index token = example.tokens[t];
        BOOST_TEST((t < static_cast<std::size_t>(2 * options.pairs)
                        ? token >= 1 && token < options.vocabulary
                        : token == 0));
        BOOST_TEST(example.targets[t] == kIgnoredTarget);
      }
      BOOST_REQUIRE(context.contains(example.tokens[last]));
      BOOST_TEST(example.targets[last] == context.at(example.tokens[last]));
    }
  }
}

BOOST_AUTO_TEST_CASE(values_repeat_and_every_pair_is_asked) {
  bool repeated_value = false;
  std::set<std::size_t> asked;
  std::set<Index> keys, values;
  for (const TaskExample& example : task_examples(Retrieval(), 1000)) {
    std::set<Index> here;
    for (std::size_t i = 0; i < 20; ++i) {
      keys.insert(example.tokens[2 * i]);
      here.insert(example.tokens[2 * i + 1]);
      if (example.tokens[2 * i] == example.tokens.back()) asked.insert(i);
    }
    values.insert(here.begin(), here.end());
    repeated_value |= here.size() < 20;
  }
  BOOST_TEST(repeated_value);
  BOOST_TEST(asked.size() == 20);
  BOOST_TEST(keys.size() == 31);
  BOOST_TEST(values.size() == 31);
}

BOOST_AUTO_TEST_CASE(chance_is_what_the_most_frequent_value_reaches) {
  for (const RetrievalOptions& options :
       {RetrievalOptions{.length = 41}, RetrievalOptions{.pairs = 3, .length = 7}}) {
    const Retrieval task(options);
    const auto most_frequent = [&](const TaskExample& example, std::size_t) {
      std::map<Index, int> frequency;
      for (const auto& [key, value] : context_of(example, options)) ++frequency[value];
      return std::ranges::max_element(frequency, {}, [](const auto& entry) { return entry.second; })
          ->first;
    };
    BOOST_TEST(task.chance() == guessed_accuracy(task_examples(task, 50000), most_frequent),
               boost::test_tools::tolerance(0.04));
  }
}

BOOST_AUTO_TEST_CASE(settings_without_room_are_refused_with_what_is_allowed) {
  const auto message = refusal<Retrieval, RetrievalOptions>;
  BOOST_TEST(message({.pairs = 32}) ==
             "retrieval: pairs 32 needs at least 32 keys, vocabulary has 31 and the blank");
  BOOST_TEST(message({.length = 40}) ==
             "retrieval: length 40 is not allowed for 20 pairs and the query; 41 to 1099511627776");
  BOOST_TEST(message({.pairs = 0}).starts_with("retrieval: pairs 0 is not allowed; 1 to"));
  BOOST_TEST(message({.pairs = Index{1} << 62}).starts_with("retrieval: pairs 46"));
  BOOST_TEST(
      message({.vocabulary = 1}).starts_with("retrieval: vocabulary 1 is not allowed; 2 to"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
