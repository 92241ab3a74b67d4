// Selective copying by its definition, and what takes no skill.
#include "tasks/selective_copy.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "tests/task_examples.hpp"

namespace vla {
namespace {

using Tokens = std::vector<Index>;

// The places of items before the answers.
std::vector<std::size_t> places_of(const TaskExample& example,
                                   const SelectiveCopyOptions& options) {
  std::vector<std::size_t> places;
  for (std::size_t t = 0; t < static_cast<std::size_t>(options.length - options.items); ++t)
    if (example.tokens[t] != 0) places.push_back(t);
  return places;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(selective_copy)

BOOST_AUTO_TEST_CASE(the_items_are_asked_for_in_their_order) {
  for (const SelectiveCopyOptions& options :
       {SelectiveCopyOptions{}, SelectiveCopyOptions{.vocabulary = 3, .items = 1, .length = 2},
        SelectiveCopyOptions{.items = 20, .length = 40},
        SelectiveCopyOptions{.vocabulary = 100, .items = 5, .length = 1000}}) {
    const SelectiveCopy task(options);
    for (const TaskExample& example : task_examples(task, 30)) {
      const std::vector<std::size_t> places = places_of(example, options);
      BOOST_REQUIRE(places.size() == static_cast<std::size_t>(options.items));
      Tokens tokens(example.tokens.size(), 0), targets(example.tokens.size(), kIgnoredTarget);
      const std::size_t answers = tokens.size() - places.size();
      for (std::size_t i = 0; i < places.size(); ++i) {
        const Index item = example.tokens[places[i]];
        BOOST_TEST((item >= 1 && item <= options.vocabulary - 2));
        tokens[places[i]] = targets[answers + i] = item;
        tokens[answers + i] = options.vocabulary - 1;
      }
      BOOST_TEST(example.tokens == tokens, boost::test_tools::per_element());
      BOOST_TEST(example.targets == targets, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(items_are_of_every_kind_and_come_at_every_place) {
  const SelectiveCopyOptions options{.items = 4, .length = 20};
  std::map<std::size_t, double> places;
  std::map<Index, double> items;
  for (const TaskExample& example : task_examples(SelectiveCopy(options), 4000))
    for (const std::size_t place : places_of(example, options)) {
      ++places[place];
      ++items[example.tokens[place]];
    }
  BOOST_TEST(places.size() == 16);
  for (const auto& [place, count] : places)
    BOOST_TEST(count == 1000.0, boost::test_tools::tolerance(0.15));
  BOOST_TEST(items.size() == 14);
  for (const auto& [item, count] : items)
    BOOST_TEST(count == 16000 / 14.0, boost::test_tools::tolerance(0.15));
}

// What tells it from copying: no fixed distance leads from an item to its answer.
BOOST_AUTO_TEST_CASE(no_distance_solves_it) {
  const SelectiveCopy task({.items = 4, .length = 40});
  const auto examples = task_examples(task, 2000);
  for (std::size_t distance = 1; distance < 40; ++distance)
    BOOST_TEST(guessed_accuracy(examples, [&](const TaskExample& example, std::size_t t) {
                 return distance <= t ? example.tokens[t - distance] : 0;
               }) < task.chance() + 0.06);
}

BOOST_AUTO_TEST_CASE(chance_is_what_a_constant_guess_reaches) {
  for (Index vocabulary : {4, 16}) {
    const SelectiveCopy task({.vocabulary = vocabulary, .items = 8, .length = 30});
    const auto constant = [](const TaskExample&, std::size_t) { return 1; };
    BOOST_TEST(task.chance() == guessed_accuracy(task_examples(task, 8000), constant),
               boost::test_tools::tolerance(0.03));
  }
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto message = refusal<SelectiveCopy, SelectiveCopyOptions>;
  BOOST_TEST(message({.vocabulary = 2}) ==
             "selective-copy: vocabulary 2 is not allowed; 3 to 16777216");
  BOOST_TEST(message({.items = 0}).starts_with("selective-copy: items 0 is not allowed; 1 to "));
  BOOST_TEST(message({.items = 16, .length = 31}) ==
             "selective-copy: length 31 is not allowed for 16 items and their answers; 32 to "
             "1099511627776");
  BOOST_TEST(message({.length = Index{1} << 62}).starts_with("selective-copy: length 46"));
  BOOST_TEST(message({.items = Index{1} << 62}).starts_with("selective-copy: items 46"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
