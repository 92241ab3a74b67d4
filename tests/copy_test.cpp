// Copying by its definition, and what takes no skill.
#include "tasks/copy.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "tests/task_examples.hpp"

namespace vla {
namespace {

using Tokens = std::vector<Index>;

// Where the separator stands.
std::size_t prefix_of(const TaskExample& example, Index separator) {
  const auto place = std::ranges::find(example.tokens, separator);
  BOOST_REQUIRE(place != example.tokens.end());
  return static_cast<std::size_t>(place - example.tokens.begin());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(copy)

BOOST_AUTO_TEST_CASE(the_prefix_is_asked_for_after_the_separator) {
  for (const CopyOptions& options :
       {CopyOptions{}, CopyOptions{.vocabulary = 3, .prefix = 1}, CopyOptions{.prefix = 100},
        CopyOptions{.vocabulary = 50, .prefix = 9, .shortest_prefix = 2},
        CopyOptions{.prefix = 7, .shortest_prefix = 1, .show_answers = true}}) {
    const Copy task(options);
    const Index separator = options.vocabulary - 1;
    BOOST_TEST(task.length() == 2 * options.prefix + 1);
    for (const TaskExample& example : task_examples(task, 20)) {
      const std::size_t prefix = prefix_of(example, separator);
      const Tokens symbols(example.tokens.begin(), example.tokens.begin() + prefix);
      for (Index symbol : symbols) BOOST_TEST((symbol >= 1 && symbol < separator));

      Tokens tokens(example.tokens.size(), 0), targets(example.tokens.size(), kIgnoredTarget);
      std::ranges::copy(symbols, tokens.begin());
      tokens[prefix] = separator;
      std::ranges::copy(symbols, targets.begin() + prefix + 1);
      if (options.show_answers)
        std::copy(symbols.begin(), symbols.end() - 1, tokens.begin() + prefix + 2);
      BOOST_TEST(example.tokens == tokens, boost::test_tools::per_element());
      BOOST_TEST(example.targets == targets, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(prefixes_have_every_length_of_the_range) {
  for (Index shortest : {0, 1, 4, 6}) {
    const Copy task({.prefix = 6, .shortest_prefix = shortest});
    std::map<std::size_t, int> drawn;
    for (const TaskExample& example : task_examples(task, 600)) ++drawn[prefix_of(example, 9)];
    const Index from = shortest == 0 ? 6 : shortest;
    BOOST_TEST(drawn.size() == static_cast<std::size_t>(7 - from));
    for (const auto& [prefix, count] : drawn) {
      BOOST_TEST((prefix >= static_cast<std::size_t>(from) && prefix <= 6));
      BOOST_TEST(count > 600 / static_cast<int>(drawn.size()) / 2);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_symbol_comes_at_every_place) {
  std::map<std::size_t, std::set<Index>> seen;
  for (const TaskExample& example : task_examples(Copy({.prefix = 3}), 500))
    for (std::size_t t = 0; t < 3; ++t) seen[t].insert(example.tokens[t]);
  for (const auto& [place, symbols] : seen) BOOST_TEST(symbols.size() == 8);
}

// The published copy task had the input itself as target, so that the identity map solved it.
BOOST_AUTO_TEST_CASE(repeating_the_token_at_the_place_does_not_solve_it) {
  const auto identity = [](const TaskExample& example, std::size_t t) { return example.tokens[t]; };
  BOOST_TEST(guessed_accuracy(task_examples(Copy(), 100), identity) == 0);
  const Copy shown({.show_answers = true});
  BOOST_TEST(guessed_accuracy(task_examples(shown, 2000), identity) < shown.chance() + 0.01);
}

BOOST_AUTO_TEST_CASE(chance_is_what_a_constant_guess_reaches) {
  for (const CopyOptions& options : {CopyOptions{}, CopyOptions{.vocabulary = 4, .prefix = 5}}) {
    const Copy task(options);
    const auto examples = task_examples(task, 4000);
    const auto constant = [](const TaskExample&, std::size_t) { return 1; };
    BOOST_TEST(task.chance() == guessed_accuracy(examples, constant),
               boost::test_tools::tolerance(0.03));
    // Counting the symbols helps, as the docstring says.
    const auto most_frequent = [](const TaskExample& example, std::size_t) {
      std::map<Index, int> frequency;
      for (Index target : example.targets)
        if (target != kIgnoredTarget) ++frequency[target];
      return std::ranges::max_element(frequency, {}, [](const auto& entry) { return entry.second; })
          ->first;
    };
    BOOST_TEST(guessed_accuracy(examples, most_frequent) > 1.2 * task.chance());
  }
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto message = refusal<Copy, CopyOptions>;
  BOOST_TEST(message({.vocabulary = 2}) == "copy: vocabulary 2 is not allowed; 3 to 16777216");
  BOOST_TEST(message({.prefix = 0}).starts_with("copy: prefix 0 is not allowed; 1 to "));
  BOOST_TEST(message({.prefix = Index{1} << 62}).starts_with("copy: prefix 46"));
  BOOST_TEST(message({.prefix = 5, .shortest_prefix = 6}) ==
             "copy: shortest-prefix 6 is not allowed; 1 to 5");
  BOOST_TEST(message({.shortest_prefix = -1}) ==
             "copy: shortest-prefix -1 is not allowed; 1 to 20");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
