#include "tasks/associative_recall.hpp"

#include <algorithm>
#include <vector>

#include "tasks/chance.hpp"

namespace vla {
namespace {

constexpr Index kMostDistractors = Index{1} << 15;  // times the most pairs, below kLongestSequence

}  // namespace

AssociativeRecall::AssociativeRecall(const AssociativeRecallOptions& options) : options_(options) {
  const auto& [vocabulary, pairs, queries, distractors, repeat_queries] = options_;
  const std::string_view task = "associative-recall";
  check_task_setting(task, "vocabulary", vocabulary, 2, kLargestVocabulary);
  check_task_setting(task, "pairs", pairs, 1, kLargestVocabulary);
  check_task_setting(task, "distractors", distractors, 0, kMostDistractors);
  check_task_setting(task, "queries", queries, 1, kLongestSequence);
  check(pairs <= vocabulary - 1, task, ": pairs ", pairs, " needs at least ", pairs,
        " keys, vocabulary has ", vocabulary - 1, " and the query token");
  check(distractors == 0 || pairs < vocabulary - 1, task, ": pairs ", pairs,
        " leaves no token for distractors, vocabulary has ", vocabulary - 1,
        " and the query token; ", vocabulary - 2, " pairs or less");
  check(repeat_queries || queries <= pairs, task, ": queries ", queries, " out of ", pairs,
        " pairs is not allowed; 1 to ", pairs, ", or more with repeat-queries");
}

Index AssociativeRecall::length() const {
  return options_.pairs * (2 + options_.distractors) + 1 + options_.queries;
}

double AssociativeRecall::chance() const {
  return most_frequent_share(options_.pairs, options_.vocabulary - 1);
}

Batch AssociativeRecall::sample(Index size, Rng& rng) const {
  return write_batch("associative-recall", size, length(),
                     [&](auto tokens, auto targets) { write_example(tokens, targets, rng); });
}

void AssociativeRecall::write_example(std::span<Index> tokens, std::span<Index> targets,
                                      Rng& rng) const {
  const Index symbols = options_.vocabulary - 1, step = 2 + options_.distractors;
  const std::vector<Index> keys = rng.distinct(options_.pairs, symbols);
  std::vector<bool> is_key(static_cast<std::size_t>(symbols));
  for (Index key : keys) is_key[static_cast<std::size_t>(key)] = true;

  Index place = 0;
  for (Index key : keys) {
    tokens[place] = key;
    tokens[place + 1] = rng.below(symbols);
    for (Index i = 2; i < step; ++i) {
      do tokens[place + i] = rng.below(symbols);
      while (is_key[static_cast<std::size_t>(tokens[place + i])]);
    }
    place += step;
  }
  tokens[place++] = options_.vocabulary - 1;

  std::vector<Index> asked;
  if (!options_.repeat_queries) asked = rng.distinct(options_.queries, options_.pairs);
  for (Index i = 0; i < options_.queries; ++i, ++place) {
    const Index pair =
        options_.repeat_queries ? rng.below(options_.pairs) : asked[static_cast<std::size_t>(i)];
    tokens[place] = tokens[pair * step];
    targets[place] = tokens[pair * step + 1];
  }
}

}  // namespace vla
