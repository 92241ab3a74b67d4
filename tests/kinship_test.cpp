// Kinship by its definition: the answers against families in which every word is looked for.
#include "tasks/kinship.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "tests/compare.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

// The held-out side of the task as a task.
struct HeldOut : Kinship {
  using Kinship::Kinship;
  Batch sample(Index size, Rng& rng) const override { return sample_held_out(size, rng); }
};

constexpr Kin kSteps[] = {Kin::parent, Kin::child, Kin::sibling, Kin::spouse};

struct Fact {
  Kin step;
  bool woman;
  Index to;
};

struct Story {
  std::map<Index, Fact> facts;  // by the person from whom they lead
  Index first = 0, last = 0;
  // The facts along the chain.
  std::vector<Fact> chain() const {
    std::vector<Fact> chain;
    for (auto next = facts.find(first); next != facts.end(); next = facts.find(next->second.to))
      chain.push_back(next->second);
    return chain;
  }
};

Story story_of(const TaskExample& example) {
  const std::vector<Index>& tokens = example.tokens;
  std::size_t t = 0;
  while (tokens.at(t) == 0) ++t;
  Story story;
  for (; t + 3 < tokens.size(); t += 3) {
    std::optional<Fact> fact;
    for (const Kin step : kSteps)
      for (const bool woman : {false, true})
        if (tokens[t + 1] == Kinship::word(step, woman)) fact = {step, woman, tokens[t + 2]};
    BOOST_REQUIRE(fact.has_value());
    BOOST_TEST(story.facts.emplace(tokens[t], *fact).second);
  }
  BOOST_REQUIRE(t + 3 == tokens.size());
  BOOST_TEST(tokens[t] == Kinship::kQuery);
  story.first = tokens[t + 1];
  story.last = tokens[t + 2];
  return story;
}

// People with a father and a mother, known or not: a family in which every relation of two people
// is found by its definition. Marriage is having, or being able to have, children together.
struct People {
  static constexpr int kUnknown = -1;
  struct Person {
    bool woman;
    int parents[2] = {kUnknown, kUnknown};  // father, mother
    int partner = kUnknown;
  };
  std::vector<Person> all;

  int add(bool woman) {
    all.push_back({.woman = woman});
    return static_cast<int>(all.size()) - 1;
  }
  Person& at(int person) { return all[static_cast<std::size_t>(person)]; }
  // The partner of somebody, invented if need be.
  int partner_of(int person) {
    if (at(person).partner == kUnknown) {
      const int other = add(!at(person).woman);
      at(person).partner = other;
      at(other).partner = person;
    }
    return at(person).partner;
  }
  int parent_of(int person, bool woman) {
    if (at(person).parents[woman] == kUnknown) {
      const int one = add(false), other = partner_of(one);
      at(person).parents[0] = one;
      at(person).parents[1] = other;
    }
    return at(person).parents[woman];
  }
  int child_of(int person, bool woman) {
    const int partner = partner_of(person), child = add(woman);
    at(child).parents[at(person).woman] = person;
    at(child).parents[at(partner).woman] = partner;
    return child;
  }
  int go(int from, Kin step, bool woman) {
    if (step == Kin::parent) return parent_of(from, woman);
    if (step == Kin::spouse) return partner_of(from);
    if (step == Kin::child) return child_of(from, woman);
    return child_of(parent_of(from, false), woman);
  }

  // What is true of two people.
  bool is_parent(int a, int b) { return at(b).parents[0] == a || at(b).parents[1] == a; }
  bool is_spouse(int a, int b) { return at(a).partner == b; }
  bool is_sibling(int a, int b) {
    return a != b && at(a).parents[0] != kUnknown && at(a).parents[0] == at(b).parents[0];
  }
  bool is_step(Kin step, int a, int b) {  // a is the step of b
    if (step == Kin::parent) return is_parent(a, b);
    if (step == Kin::child) return is_parent(b, a);
    if (step == Kin::spouse) return is_spouse(a, b);
    return is_sibling(a, b);
  }
  // a is the second of some first of b.
  bool is_two(Kin first, Kin second, int a, int b) {
    for (int other = 0; other < static_cast<int>(all.size()); ++other)
      if (is_step(first, other, b) && is_step(second, a, other)) return true;
    return false;
  }
  // The words for what a is to b.
  std::set<std::string> words(int a, int b) {
    using enum Kin;
    const bool woman = at(a).woman;
    std::set<std::string> found;
    for (const Kin step : kSteps)
      if (is_step(step, a, b)) found.insert(kin_word(step, woman));
    struct Rule {
      Kin kin, first, second;
    };
    for (const auto& [kin, first, second] :
         {Rule{grandparent, parent, parent}, Rule{grandchild, child, child},
          Rule{parents_sibling, parent, sibling}, Rule{siblings_child, sibling, child},
          Rule{spouses_parent, spouse, parent}, Rule{childs_spouse, child, spouse},
          Rule{siblings_spouse, sibling, spouse}, Rule{spouses_sibling, spouse, sibling}})
      if (is_two(first, second, a, b)) found.insert(kin_word(kin, woman));
    return found;
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(kinship)

BOOST_AUTO_TEST_CASE(the_answer_is_the_one_word_that_is_true_in_the_family) {
  std::map<std::string, int> answers;
  for (Index chain : {1, 2, 3, 4, 6, 10, 25}) {
    const Kinship task({.chain = chain});
    BOOST_TEST(task.length() == 3 * (chain + 1));
    for (const TaskExample& example : task_examples(task, 300)) {
      const Story story = story_of(example);
      const std::vector<Fact> facts = story.chain();
      BOOST_REQUIRE(facts.size() == static_cast<std::size_t>(chain));
      BOOST_TEST(facts.back().to == story.last);
      std::set<Index> entities = {story.first};
      for (const Fact& fact : facts) {
        entities.insert(fact.to);
        BOOST_TEST((fact.to >= Kinship::kFirstEntity && fact.to < task.vocabulary()));
      }
      BOOST_TEST(entities.size() == facts.size() + 1);
      // The gender of the first, where the facts do not tell it, is that for which they are new
      // people all along.
      std::set<std::string> expected;
      for (const bool woman : {false, true}) {
        People people;
        const int first = people.add(woman);
        std::set<int> passed = {first};
        int last = first;
        bool possible = true;
        for (const Fact& fact : facts) {
          last = people.go(last, fact.step, fact.woman);
          possible &= people.at(last).woman == fact.woman && passed.insert(last).second;
        }
        if (!possible) continue;
        const std::set<std::string> words = people.words(last, first);
        BOOST_TEST(words.size() == 1);
        expected.insert(words.begin(), words.end());
      }
      BOOST_REQUIRE(expected.size() == 1);
      std::string answer;
      for (int kin = 0; kin < static_cast<int>(Kin::none); ++kin)
        for (const bool woman : {false, true})
          if (Kinship::word(static_cast<Kin>(kin), woman) == example.targets.back())
            answer = kin_word(static_cast<Kin>(kin), woman);
      BOOST_TEST(answer == *expected.begin());
      ++answers[answer];
      BOOST_TEST(std::count(example.targets.begin(), example.targets.end(), kIgnoredTarget) ==
                 task.length() - 1);
    }
  }
  BOOST_TEST(answers.size() == 22);
}

// Closed: what the table gives is always some kin. In the end both parents of most people are told
// of, and a chain goes on among their children: eight words are left.
BOOST_AUTO_TEST_CASE(composing_the_facts_gives_the_answer_at_every_length) {
  const Kinship task({.vocabulary = 424, .chain = 399});
  std::set<Index> answers;
  for (const TaskExample& example : task_examples(task, 200)) {
    Kin relation = Kin::none;
    const std::vector<Fact> facts = story_of(example).chain();
    for (const Fact& fact : facts) {
      relation = relation == Kin::none ? fact.step : compose(relation, fact.step);
      BOOST_REQUIRE((relation != Kin::none));
    }
    BOOST_TEST(example.targets.back() == Kinship::word(relation, facts.back().woman));
    answers.insert(example.targets.back());
  }
  BOOST_TEST(answers.size() == 8);
}

BOOST_AUTO_TEST_CASE(relations_compose) {
  using enum Kin;
  BOOST_TEST((compose(parent, parent) == grandparent));
  BOOST_TEST((compose(parent, child) == sibling));
  BOOST_TEST((compose(child, parent) == spouse));
  BOOST_TEST((compose(grandchild, parent) == childs_spouse));
  BOOST_TEST((compose(grandchild, child) == none));  // there is no word
  BOOST_TEST((compose(spouse, spouse) == none));     // somebody again
  BOOST_CHECK_THROW(compose(none, parent), Error);
  BOOST_CHECK_THROW(compose(parent, grandparent), Error);
  BOOST_TEST(kin_word(spouses_sibling, true) == "sister-in-law");
  BOOST_TEST(kin_word(siblings_spouse, true) == "sister-in-law");
  BOOST_TEST(Kinship::word(spouses_sibling, true) == Kinship::kFirstEntity - 1);
  BOOST_TEST(Kinship::word(parent, false) == Kinship::kFirstWord);
  BOOST_CHECK_THROW(kin_word(none, true), Error);
}

BOOST_AUTO_TEST_CASE(facts_come_in_any_order) {
  std::map<std::vector<Index>, double> orders;
  for (const TaskExample& example : task_examples(Kinship(), 6000)) {
    const Story story = story_of(example);
    std::map<Index, Index> number;
    Index person = story.first;
    for (const Fact& fact : story.chain()) {
      number.emplace(person, static_cast<Index>(number.size()));
      person = fact.to;
    }
    ++orders[{number[example.tokens[0]], number[example.tokens[3]], number[example.tokens[6]]}];
  }
  BOOST_TEST(orders.size() == 6);
  for (const auto& [order, count] : orders)
    BOOST_TEST(count == 1000.0, boost::test_tools::tolerance(0.15));
}

BOOST_AUTO_TEST_CASE(chains_have_every_length_of_the_range_and_held_out_ones_their_own) {
  const KinshipOptions options{.chain = 5, .shortest_chain = 2, .held_out_chain = 8};
  BOOST_TEST(Kinship(options).length() == 27);
  std::set<std::size_t> seen;
  for (const TaskExample& example : task_examples(Kinship(options), 300))
    seen.insert(story_of(example).facts.size());
  BOOST_TEST(seen == (std::set<std::size_t>{2, 3, 4, 5}), boost::test_tools::per_element());
  for (const TaskExample& example : task_examples(HeldOut(options), 50))
    BOOST_TEST(story_of(example).facts.size() == 8);
  for (const TaskExample& example : task_examples(HeldOut({.chain = 4}), 50))
    BOOST_TEST(story_of(example).facts.size() == 4);
}

BOOST_AUTO_TEST_CASE(chance_is_what_the_best_constant_guess_reaches) {
  for (Index chain : {1, 3, 10}) {
    const Kinship task({.chain = 2, .held_out_chain = chain});
    std::map<Index, double> counts;
    for (const TaskExample& example :
         task_examples(HeldOut({.chain = 2, .held_out_chain = chain}), 5000))
      ++counts[example.targets.back()];
    const double best = std::ranges::max_element(counts, {}, [](const auto& entry) {
                          return entry.second;
                        })->second;
    BOOST_TEST(std::abs(task.chance() - best / 5000) < 0.025);
  }
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto message = refusal<Kinship, KinshipOptions>;
  BOOST_TEST(message({.vocabulary = 25}) ==
             "kinship: vocabulary 25 is not allowed; 26 to 16777216");
  BOOST_TEST(message({.chain = 0}) == "kinship: chain 0 is not allowed; 1 to 25");
  BOOST_TEST(message({.chain = 26}) == "kinship: chain 26 is not allowed; 1 to 25");
  BOOST_TEST(message({.chain = 4, .shortest_chain = 5}) ==
             "kinship: shortest-chain 5 is not allowed; 1 to 4");
  BOOST_TEST(message({.held_out_chain = -1}) ==
             "kinship: held-out-chain -1 is not allowed; 0 to 25");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
