#include "tasks/listops.hpp"

#include <algorithm>
#include <array>

#include "framework/checksum.hpp"
#include "tasks/chance.hpp"
#include "tasks/epochs.hpp"

namespace vla {
namespace {

constexpr Index kChanceExamples = 5000;

void write_example(std::span<const std::uint8_t> expression, std::span<Index> tokens,
                   std::span<Index> targets) {
  std::ranges::copy(expression, tokens.begin());
  targets[expression.size() - 1] = kListOpsZero + listops_value(expression);
}

// How often each value comes.
std::array<Index, 10> value_counts(const ListOpsSet& set) {
  std::array<Index, 10> counts{};
  for (Index i = 0; i < set.size(); ++i) ++counts[static_cast<std::size_t>(listops_value(set[i]))];
  return counts;
}

}  // namespace

ListOps::ListOps(const ListOpsOptions& options) : options_(options) {
  if (options_.size_above == 0) options_.size_above = options_.length / 4;
  check_held_out("listops", options_.held_out);
  if (options_.data.empty()) {
    check_listops_grammar(grammar());
    return;
  }
  check_task_setting("listops", "length", options_.length, 2, kLongestSequence);
  training_ = read_listops(listops_path(options_.data, "train"), options_.length);
  held_out_ = read_listops(listops_path(options_.data, options_.held_out), options_.length);
  fingerprint_ = concatenate(training_.size(), " expressions of ", training_.symbols().size(),
                             " symbols, checksum ", checksum(std::as_bytes(training_.symbols())));
}

ListOpsGrammar ListOps::grammar() const {
  return {.depth = options_.depth,
          .arguments = options_.arguments,
          .size_above = options_.size_above,
          .size_below = options_.length};
}

double ListOps::chance() const {
  if (options_.data.empty()) return most_frequent_target_share(*this, kChanceExamples);
  return guess_share(value_counts(training_), value_counts(held_out_));
}

Batch ListOps::sample(Index size, Rng& rng) const {
  if (!options_.data.empty()) return sample_from(training_, size, rng);
  return write_batch("listops", size, length(), [&](auto tokens, auto targets) {
    write_example(next_listops(grammar(), rng), tokens, targets);
  });
}

Batch ListOps::sample_held_out(Index size, Rng& rng) const {
  return options_.data.empty() ? sample(size, rng) : sample_from(held_out_, size, rng);
}

Batch ListOps::sample_from(const ListOpsSet& set, Index size, Rng& rng) const {
  return write_batch("listops", size, length(), [&](auto tokens, auto targets) {
    write_example(set[next_of_epoch(set.size(), rng)], tokens, targets);
  });
}

}  // namespace vla
