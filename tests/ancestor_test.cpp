// The ancestor task by its definition, and what takes no skill.
#include "tasks/ancestor.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "models/vla/symbolic_penalty.hpp"
#include "tests/compare.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

// The held-out side of the task as a task.
struct HeldOut : Ancestor {
  using Ancestor::Ancestor;
  Batch sample(Index size, Rng& rng) const override { return sample_held_out(size, rng); }
};

struct Story {
  std::map<Index, Index> child_of;  // by parent
  std::vector<Index> parents;       // in the order of the facts
  Index asked_first = 0, asked_second = 0;
  std::size_t facts() const { return child_of.size(); }
};

// Reads an example, and checks its form on the way.
Story story_of(const TaskExample& example) {
  const std::vector<Index>& tokens = example.tokens;
  Story story;
  std::size_t t = 0;
  while (tokens.at(t) == 0) ++t;
  for (; t + 6 < tokens.size(); t += 6) {
    BOOST_TEST((tokens[t + 1] == Ancestor::kIs && tokens[t + 2] == Ancestor::kAncestor &&
                tokens[t + 3] == Ancestor::kOf && tokens[t + 5] == Ancestor::kSeparator));
    story.parents.push_back(tokens[t]);
    BOOST_TEST(story.child_of.emplace(tokens[t], tokens[t + 4]).second);
  }
  BOOST_REQUIRE(t + 6 == tokens.size());
  BOOST_TEST((tokens[t] == Ancestor::kQuery && tokens[t + 2] == Ancestor::kIs &&
              tokens[t + 3] == Ancestor::kAncestor && tokens[t + 4] == Ancestor::kOf));
  story.asked_first = tokens[t + 1];
  story.asked_second = tokens[t + 5];
  return story;
}

// Whether a way along the facts leads from one to the other.
bool leads(const Story& story, Index from, Index to) {
  for (auto next = story.child_of.find(from); next != story.child_of.end();
       next = story.child_of.find(next->second))
    if (next->second == to) return true;
  return false;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(ancestor)

BOOST_AUTO_TEST_CASE(the_facts_say_the_answer) {
  for (const AncestorOptions& options :
       {AncestorOptions{}, AncestorOptions{.vocabulary = 10, .chain = 1},
        AncestorOptions{.chain = 25}, AncestorOptions{.chain = 8, .shortest_chain = 2},
        AncestorOptions{.vocabulary = 200, .chain = 30, .held_out_chain = 60}}) {
    const Ancestor task(options);
    BOOST_TEST(task.length() == 6 * (std::max(options.chain, options.held_out_chain) + 1));
    for (const TaskExample& example : task_examples(task, 100)) {
      const Story story = story_of(example);
      const auto facts = static_cast<Index>(story.facts());
      BOOST_TEST((facts <= options.chain && facts >= task.options().shortest_chain));
      // One chain: as many entities as facts and one, and one of them has no parent.
      std::set<Index> parents, children;
      for (const auto& [parent, child] : story.child_of) {
        BOOST_TEST((parent >= Ancestor::kFirstEntity && parent < options.vocabulary));
        BOOST_TEST((child >= Ancestor::kFirstEntity && child < options.vocabulary));
        parents.insert(parent);
        children.insert(child);
      }
      BOOST_TEST(children.size() == story.facts());
      Index root = -1;
      for (const Index parent : parents)
        if (!children.contains(parent)) root = parent;
      for (const Index child : children) BOOST_TEST(leads(story, root, child));
      BOOST_TEST(story.asked_first != story.asked_second);
      const bool down = leads(story, story.asked_first, story.asked_second);
      BOOST_TEST(down != leads(story, story.asked_second, story.asked_first));
      BOOST_TEST(example.targets.back() == (down ? Ancestor::kTrue : Ancestor::kFalse));
      BOOST_TEST(std::count(example.targets.begin(), example.targets.end(), kIgnoredTarget) ==
                 task.length() - 1);
    }
  }
  BOOST_TEST(Ancestor().length() == 30);  // as published
}

BOOST_AUTO_TEST_CASE(true_and_false_are_balanced_and_facts_come_in_any_order) {
  std::map<Index, double> answers;
  std::map<std::vector<Index>, double> orders;
  std::map<Index, double> distances;
  for (const TaskExample& example : task_examples(Ancestor({.chain = 3}), 6000)) {
    ++answers[example.targets.back()];
    const Story story = story_of(example);
    std::map<Index, Index> depth;
    for (const Index parent : story.parents) {
      Index below = 0;
      for (const Index other : story.parents) below += leads(story, parent, other);
      depth[parent] = below;
    }
    std::vector<Index> order;
    for (const Index parent : story.parents) order.push_back(depth[parent]);
    ++orders[order];
    const bool down = example.targets.back() == Ancestor::kTrue;
    Index from = down ? story.asked_first : story.asked_second, distance = 0;
    for (const Index to = down ? story.asked_second : story.asked_first; from != to; ++distance)
      from = story.child_of.at(from);
    ++distances[distance];
  }
  for (const Index answer : {Ancestor::kTrue, Ancestor::kFalse})
    BOOST_TEST(answers[answer] == 3000.0, boost::test_tools::tolerance(0.06));
  BOOST_TEST(orders.size() == 6);
  for (const auto& [order, count] : orders)
    BOOST_TEST(count == 1000.0, boost::test_tools::tolerance(0.15));
  // Of the pairs of four, 3 are neighbours, 2 stand two apart, and 1 three.
  for (Index distance : {1, 2, 3})
    BOOST_TEST(distances[distance] == 1000.0 * (4 - distance), boost::test_tools::tolerance(0.15));
}

BOOST_AUTO_TEST_CASE(chains_have_every_length_of_the_range_and_held_out_ones_their_own) {
  const AncestorOptions options{.chain = 6, .shortest_chain = 3, .held_out_chain = 9};
  std::set<std::size_t> seen;
  for (const TaskExample& example : task_examples(Ancestor(options), 300))
    seen.insert(story_of(example).facts());
  BOOST_TEST(seen == (std::set<std::size_t>{3, 4, 5, 6}), boost::test_tools::per_element());
  for (const TaskExample& example : task_examples(HeldOut(options), 50))
    BOOST_TEST(story_of(example).facts() == 9);
  for (const TaskExample& example : task_examples(HeldOut({.chain = 3}), 50))
    BOOST_TEST(story_of(example).facts() == 3);
}

BOOST_AUTO_TEST_CASE(chance_is_what_a_constant_guess_reaches) {
  const auto examples = task_examples(Ancestor(), 8000);
  BOOST_TEST(guessed_accuracy(examples, [](auto&, std::size_t) { return Ancestor::kTrue; }) ==
                 Ancestor().chance(),
             boost::test_tools::tolerance(0.05));
  // Knowing the ends of the chain helps, as the docstring says: true if the first is the root or
  // the second the end of the chain, false the other way around.
  const auto ends = [](const TaskExample& example, std::size_t) {
    const Story story = story_of(example);
    const auto is_parent = [&](Index entity) { return story.child_of.contains(entity); };
    const auto is_child = [&](Index entity) {
      return std::ranges::any_of(story.child_of,
                                 [&](const auto& fact) { return fact.second == entity; });
    };
    const bool down = !is_child(story.asked_first) || !is_parent(story.asked_second);
    return down ? Ancestor::kTrue : Ancestor::kFalse;
  };
  BOOST_TEST(guessed_accuracy(examples, ends) > 0.7);
}

BOOST_AUTO_TEST_CASE(equal_entities_are_related_and_other_words_are_not) {
  const Ancestor task({.chain = 3, .shortest_chain = 1});
  Rng rng(1);
  const Tensor tokens = task.sample(5, rng).tokens;
  for (DType dtype : {DType::float32, DType::float64}) {
    const Tensor relations = task.relations(tokens, dtype);
    const Tensor equal = equal_tokens(tokens, dtype);
    BOOST_REQUIRE_EQUAL(relations.shape(), equal.shape());
    BOOST_TEST((relations.dtype() == dtype));
    for (Index b = 0; b < 5; ++b)
      for (Index t = 0; t < task.length(); ++t)
        for (Index j = 0; j < task.length(); ++j) {
          const bool entity = tokens.at<Index>({b, t}) >= Ancestor::kFirstEntity;
          const auto at = [&](const Tensor& tensor) {
            return dtype == DType::float32 ? static_cast<double>(tensor.at<float>({b, t, j}))
                                           : tensor.at<double>({b, t, j});
          };
          BOOST_TEST(at(relations) == (entity ? at(equal) : 0));
        }
  }
  BOOST_CHECK_EXCEPTION(task.relations(Tensor::zeros({6}, DType::int64), DType::float32), Error,
                        says("ancestor: tokens have shape (6); (B, T) is needed"));
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto message = refusal<Ancestor, AncestorOptions>;
  BOOST_TEST(message({.vocabulary = 9}) == "ancestor: vocabulary 9 is not allowed; 10 to 16777216");
  BOOST_TEST(message({.chain = 0}) == "ancestor: chain 0 is not allowed; 1 to 25");
  BOOST_TEST(message({.chain = 26}) == "ancestor: chain 26 is not allowed; 1 to 25");
  BOOST_TEST(message({.chain = 4, .shortest_chain = 5}) ==
             "ancestor: shortest-chain 5 is not allowed; 1 to 4");
  BOOST_TEST(message({.shortest_chain = -1}) ==
             "ancestor: shortest-chain -1 is not allowed; 1 to 4");
  BOOST_TEST(message({.held_out_chain = 26}) ==
             "ancestor: held-out-chain 26 is not allowed; 0 to 25");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
