#include "tasks/kinship.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "tasks/chance.hpp"

namespace vla {
namespace {

using enum Kin;

// Row: what somebody is to the first person. Column: the parent, child, sibling or spouse of that
// somebody, who is no one that the chain has passed.
constexpr Kin kTable[][kKinSteps] = {
    /* parent */ {grandparent, sibling, parents_sibling, parent},
    /* child */ {spouse, grandchild, child, childs_spouse},
    /* sibling */ {parent, siblings_child, sibling, siblings_spouse},
    /* spouse */ {spouses_parent, child, spouses_sibling, none},
    /* grandparent */ {none, parents_sibling, none, grandparent},
    /* grandchild */ {childs_spouse, none, grandchild, none},
    /* parents_sibling */ {grandparent, none, parents_sibling, none},
    /* siblings_child */ {siblings_spouse, none, siblings_child, none},
    /* spouses_parent */ {none, spouses_sibling, none, spouses_parent},
    /* childs_spouse */ {none, grandchild, none, none},
    /* siblings_spouse */ {none, siblings_child, none, none},
    /* spouses_sibling */ {spouses_parent, none, spouses_sibling, none},
};
static_assert(std::size(kTable) == static_cast<std::size_t>(Kin::none));

constexpr const char* kWords[][2] = {
    {"father", "mother"},
    {"son", "daughter"},
    {"brother", "sister"},
    {"husband", "wife"},
    {"grandfather", "grandmother"},
    {"grandson", "granddaughter"},
    {"uncle", "aunt"},
    {"nephew", "niece"},
    {"father-in-law", "mother-in-law"},
    {"son-in-law", "daughter-in-law"},
    {"brother-in-law", "sister-in-law"},
};
static_assert(Kinship::kFirstWord + 2 * std::size(kWords) == Kinship::kFirstEntity);

// Its row of kWords.
Index words_of(Kin kin) {
  check(kin != none, "kinship: there is no word for no kin");
  return static_cast<Index>(kin == spouses_sibling ? siblings_spouse : kin);
}

// The family that a chain tells of, as far as it says who is somebody new.
class Family {
 public:
  explicit Family(bool woman) : last_(married(woman, couple())) {}

  // Whether somebody of this gender can be the step of the last one.
  bool has_room_for(Kin step, bool woman) const {
    if (step == parent) return !taken_[last_.parents][woman];
    if (step == spouse) return woman != last_.woman && !taken_[last_.marriage][woman];
    return true;
  }
  void go(Kin step, bool woman) {
    if (step == parent)
      last_ = married(woman, last_.parents);
    else if (step == spouse)
      last_ = married(woman, last_.marriage);
    else
      last_ = born(woman, step == child ? last_.marriage : last_.parents);
  }

 private:
  struct Person {
    bool woman;
    std::size_t parents, marriage;  // couples
  };
  std::size_t couple() {
    taken_.push_back({});
    return taken_.size() - 1;
  }
  Person married(bool woman, std::size_t marriage) {
    taken_[marriage][woman] = true;
    return {woman, couple(), marriage};
  }
  Person born(bool woman, std::size_t parents) {
    Person person = married(woman, couple());
    person.parents = parents;
    return person;
  }

  std::vector<std::array<bool, 2>> taken_;  // of each couple, whether the chain has the man, woman
  Person last_;
};

struct Step {
  Kin kin;
  bool woman;
};

// A chain of so many steps; the last element is what the last person is to the first.
std::vector<Step> draw_chain(Index facts, Rng& rng) {
  std::vector<Step> chain;
  Kin relation = none;
  Family family(rng.below(2) == 1);
  for (Index fact = 0; fact < facts; ++fact) {
    std::vector<Step> steps;
    for (Index step = 0; step < kKinSteps; ++step)
      for (const bool woman : {false, true}) {
        const auto kin = static_cast<Kin>(step);
        const bool known = fact == 0 || compose(relation, kin) != none;
        if (known && family.has_room_for(kin, woman)) steps.push_back({kin, woman});
      }
    const Step step = steps[static_cast<std::size_t>(rng.below(static_cast<Index>(steps.size())))];
    relation = fact == 0 ? step.kin : compose(relation, step.kin);
    family.go(step.kin, step.woman);
    chain.push_back(step);
  }
  chain.push_back({relation, chain.back().woman});
  return chain;
}

}  // namespace

Kin compose(Kin relation, Kin step) {
  const auto column = static_cast<Index>(step);
  check(relation != none && column < kKinSteps, "kinship: cannot compose ",
        static_cast<Index>(relation), " and ", column, "; some kin and a step are needed");
  return kTable[static_cast<Index>(relation)][column];
}

std::string kin_word(Kin kin, bool woman) { return kWords[words_of(kin)][woman]; }

Index Kinship::word(Kin kin, bool woman) { return kFirstWord + 2 * words_of(kin) + woman; }

Kinship::Kinship(const KinshipOptions& options) : options_(options) {
  auto& [vocabulary, chain, shortest_chain, held_out_chain] = options_;
  check_task_setting("kinship", "vocabulary", vocabulary, kFirstEntity + 2, kLargestVocabulary);
  const Index most = vocabulary - kFirstEntity - 1;  // a chain has one entity more than facts
  check_task_setting("kinship", "chain", chain, 1, most);
  if (shortest_chain == 0) shortest_chain = chain;
  check_task_setting("kinship", "shortest-chain", shortest_chain, 1, chain);
  check_task_setting("kinship", "held-out-chain", held_out_chain, 0, most);
}

Index Kinship::length() const {
  return 3 * (std::max(options_.chain, options_.held_out_chain) + 1);
}

double Kinship::chance() const { return most_frequent_target_share(*this, 20000); }

Batch Kinship::sample(Index size, Rng& rng) const {
  return sample_chains(options_.shortest_chain, options_.chain, size, rng);
}

Batch Kinship::sample_held_out(Index size, Rng& rng) const {
  const Index facts = options_.held_out_chain;
  return sample_chains(facts == 0 ? options_.shortest_chain : facts,
                       facts == 0 ? options_.chain : facts, size, rng);
}

Batch Kinship::sample_chains(Index shortest, Index longest, Index size, Rng& rng) const {
  return write_batch("kinship", size, length(), [&](auto tokens, auto targets) {
    const Index facts = shortest + rng.below(longest - shortest + 1);
    const std::vector<Step> chain = draw_chain(facts, rng);
    std::vector<Index> people = rng.distinct(facts + 1, options_.vocabulary - kFirstEntity);
    for (Index& entity : people) entity += kFirstEntity;
    std::size_t place = tokens.size() - static_cast<std::size_t>(3 * (facts + 1));
    for (const Index fact : rng.distinct(facts, facts)) {
      const auto i = static_cast<std::size_t>(fact);
      tokens[place++] = people[i];
      tokens[place++] = word(chain[i].kin, chain[i].woman);
      tokens[place++] = people[i + 1];
    }
    tokens[place++] = kQuery;
    tokens[place++] = people.front();
    tokens[place++] = people.back();
    targets.back() = word(chain.back().kin, chain.back().woman);
  });
}

}  // namespace vla
