#include "tasks/selective_copy.hpp"

#include <algorithm>
#include <vector>

namespace vla {

SelectiveCopy::SelectiveCopy(const SelectiveCopyOptions& options) : options_(options) {
  const auto& [vocabulary, items, length] = options_;
  check_task_setting("selective-copy", "vocabulary", vocabulary, 3, kLargestVocabulary);
  check_task_setting("selective-copy", "items", items, 1, kLargestVocabulary);
  check(length >= 2 * items && length <= kLongestSequence, "selective-copy: length ", length,
        " is not allowed for ", items, " items and their answers; ", 2 * items, " to ",
        kLongestSequence);
}

Batch SelectiveCopy::sample(Index size, Rng& rng) const {
  const auto& [vocabulary, items, length] = options_;
  const Index answers = length - items;
  return write_batch("selective-copy", size, length, [&](auto tokens, auto targets) {
    std::vector<Index> places = rng.distinct(items, answers);
    std::ranges::sort(places);
    for (Index i = 0; i < items; ++i) {
      tokens[places[static_cast<std::size_t>(i)]] = targets[answers + i] =
          1 + rng.below(vocabulary - 2);
      tokens[answers + i] = vocabulary - 1;
    }
  });
}

}  // namespace vla
