#include "tasks/delayed_recall.hpp"

#include <algorithm>

namespace vla {

DelayedRecall::DelayedRecall(const DelayedRecallOptions& options) : options_(options) {
  const Index delay = options_.delay;
  check_task_setting("delayed-recall", "vocabulary", options_.vocabulary, 2, kLargestVocabulary);
  check_task_setting("delayed-recall", "delay", delay, 1, kLongestSequence / 2);
  if (options_.length == 0) options_.length = std::max<Index>(200, 2 * delay);
  check(options_.length >= 2 * delay && options_.length <= kLongestSequence,
        "delayed-recall: length ", options_.length, " is not allowed for a delay of ", delay, "; ",
        2 * delay, " to ", kLongestSequence);
}

Batch DelayedRecall::sample(Index size, Rng& rng) const {
  return write_batch("delayed-recall", size, length(), [&](auto tokens, auto targets) {
    for (Index& token : tokens) token = 1 + rng.below(options_.vocabulary - 1);
    const auto delay = static_cast<std::size_t>(options_.delay);
    std::ranges::copy(tokens.first(tokens.size() - delay), targets.begin() + options_.delay);
  });
}

}  // namespace vla
