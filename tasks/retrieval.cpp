#include "tasks/retrieval.hpp"

#include <vector>

#include "tasks/chance.hpp"

namespace vla {

Retrieval::Retrieval(const RetrievalOptions& options) : options_(options) {
  const auto& [vocabulary, pairs, length] = options_;
  check_task_setting("retrieval", "vocabulary", vocabulary, 2, kLargestVocabulary);
  check_task_setting("retrieval", "pairs", pairs, 1, kLargestVocabulary);
  check(pairs <= vocabulary - 1, "retrieval: pairs ", pairs, " needs at least ", pairs,
        " keys, vocabulary has ", vocabulary - 1, " and the blank");
  check(length >= 2 * pairs + 1 && length <= kLongestSequence, "retrieval: length ", length,
        " is not allowed for ", pairs, " pairs and the query; ", 2 * pairs + 1, " to ",
        kLongestSequence);
}

double Retrieval::chance() const {
  return most_frequent_share(options_.pairs, options_.vocabulary - 1);
}

Batch Retrieval::sample(Index size, Rng& rng) const {
  const Index pairs = options_.pairs, symbols = options_.vocabulary - 1;
  return write_batch("retrieval", size, options_.length, [&](auto tokens, auto targets) {
    const std::vector<Index> keys = rng.distinct(pairs, symbols);
    for (Index i = 0; i < pairs; ++i) {
      tokens[2 * i] = 1 + keys[static_cast<std::size_t>(i)];
      tokens[2 * i + 1] = 1 + rng.below(symbols);
    }
    const Index asked = rng.below(pairs);
    tokens.back() = tokens[2 * asked];
    targets.back() = tokens[2 * asked + 1];
  });
}

}  // namespace vla
