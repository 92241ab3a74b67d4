#include "tasks/copy.hpp"

namespace vla {

Copy::Copy(const CopyOptions& options) : options_(options) {
  check_task_setting("copy", "vocabulary", options_.vocabulary, 3, kLargestVocabulary);
  check_task_setting("copy", "prefix", options_.prefix, 1, kLongestSequence / 2);
  if (options_.shortest_prefix == 0) options_.shortest_prefix = options_.prefix;
  check_task_setting("copy", "shortest-prefix", options_.shortest_prefix, 1, options_.prefix);
}

Batch Copy::sample(Index size, Rng& rng) const {
  const Index shortest = options_.shortest_prefix;
  return write_batch("copy", size, length(), [&](auto tokens, auto targets) {
    const Index prefix = shortest + rng.below(options_.prefix - shortest + 1);
    tokens[prefix] = options_.vocabulary - 1;
    for (Index i = 0; i < prefix; ++i) {
      const Index place = prefix + 1 + i;
      tokens[i] = targets[place] = 1 + rng.below(symbols());
      if (options_.show_answers && i > 0) tokens[place] = tokens[i - 1];
    }
  });
}

}  // namespace vla
