#include "tasks/pathfinder.hpp"

#include <algorithm>
#include <array>

#include "framework/checksum.hpp"
#include "framework/parallel.hpp"
#include "tasks/chance.hpp"
#include "tasks/epochs.hpp"
#include "tasks/png.hpp"

namespace vla {
namespace {

PathfinderRule rule_of(const PathfinderOptions& options) {
  for (const Index side : {32, 64, 128, 256})
    if (side * side == options.length) return pathfinder_rule(side, options.contour);
  fail("pathfinder: length ", options.length,
       " is not allowed; 1024, 4096, 16384 or 65536, the pixels of a square image");
}

// Works on several examples at once, each of which is written by `write(i, tokens, targets)`.
template <class Write>
Batch write_apart(Index size, Index length, const Write& write) {
  using Row = std::pair<std::span<Index>, std::span<Index>>;
  std::vector<Row> rows;
  Batch batch = write_batch("pathfinder", size, length,
                            [&](auto tokens, auto targets) { rows.emplace_back(tokens, targets); });
  parallel_for(size, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const auto& [tokens, targets] = rows[static_cast<std::size_t>(i)];
      write(i, tokens, targets);
    }
  });
  return batch;
}

}  // namespace

Pathfinder::Pathfinder(const PathfinderOptions& options)
    : options_(options), rule_(rule_of(options)) {
  const auto& [length, contour, data, held_out] = options_;
  check_held_out("pathfinder", held_out);
  if (data.empty()) return;
  set_ = read_pathfinder(data);
  training_end_ = set_.size() * 8 / 10;
  const Index test_begin = set_.size() * 9 / 10;
  held_out_begin_ = held_out == "val" ? training_end_ : test_begin;
  held_out_end_ = held_out == "val" ? test_begin : set_.size();
  check(set_.size() >= 10, data, " has ", set_.size(),
        " images; 10 or more are needed, the last two tenths of them to evaluate on");
  std::string names;
  for (const std::string& path : set_.paths) names += path + '\n';
  fingerprint_ = concatenate(
      set_.size(), " images, checksum ",
      checksum(std::as_bytes(std::span(set_.labels))) ^ checksum(std::as_bytes(std::span(names))));
}

double Pathfinder::chance() const {
  if (options_.data.empty()) return 0.5;
  const auto counts = [&](Index begin, Index end) {
    const auto connected = std::count(set_.labels.begin() + begin, set_.labels.begin() + end, 1);
    return std::array<Index, 2>{end - begin - connected, connected};
  };
  return guess_share(counts(0, training_end_), counts(held_out_begin_, held_out_end_));
}

Batch Pathfinder::sample(Index size, Rng& rng) const {
  return options_.data.empty() ? sample_drawn(size, rng) : sample_from(0, training_end_, size, rng);
}

Batch Pathfinder::sample_held_out(Index size, Rng& rng) const {
  return options_.data.empty() ? sample_drawn(size, rng)
                               : sample_from(held_out_begin_, held_out_end_, size, rng);
}

Batch Pathfinder::sample_drawn(Index size, Rng& rng) const {
  // An example takes two words, so that it does not matter how many others draw.
  std::vector<Rng> own;
  for (Index i = 0; i < size; ++i) {
    const std::uint64_t high = rng.word();
    own.emplace_back(high << 32 | rng.word(), rng.state().stream);
  }
  return write_apart(size, length(), [&](Index i, auto tokens, auto targets) {
    const PathfinderImage image = draw_pathfinder(rule_, own[static_cast<std::size_t>(i)]);
    write_bytes(image.pixels, tokens);
    targets.back() = kByteTokens + Index{image.connected};
  });
}

Batch Pathfinder::sample_from(Index begin, Index end, Index size, Rng& rng) const {
  std::vector<Index> examples;
  for (Index i = 0; i < size; ++i) examples.push_back(begin + next_of_epoch(end - begin, rng));
  return write_apart(size, length(), [&](Index i, auto tokens, auto targets) {
    const auto example = static_cast<std::size_t>(examples[static_cast<std::size_t>(i)]);
    const std::filesystem::path path = std::filesystem::path(options_.data) / set_.paths[example];
    write_bytes(read_png(path, rule_.side, rule_.side), tokens);
    targets.back() = kByteTokens + Index{set_.labels[example]};
  });
}

}  // namespace vla
