#include "tasks/epochs.hpp"

#include <algorithm>
#include <bit>

namespace vla {
namespace {

constexpr std::uint32_t kRounds = 8;  // 4 leave a pattern in sets of ten examples
constexpr std::uint32_t kOrders = std::uint32_t{1} << 31;  // a block that no stream comes to

// A permutation of the numbers of 2 `half` bits, half <= 16: a Feistel network whose rounds are
// mixed by Philox.
std::uint64_t permuted(std::uint64_t number, int half, std::uint32_t epoch,
                       const RandomState& state) {
  const std::uint32_t mask = (std::uint32_t{1} << half) - 1;
  std::uint32_t left = static_cast<std::uint32_t>(number >> half);
  std::uint32_t right = static_cast<std::uint32_t>(number) & mask;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const std::uint32_t mixed = philox(
        {right | round << 16, kOrders | epoch, static_cast<std::uint32_t>(state.stream),
         static_cast<std::uint32_t>(state.stream >> 32)},
        {static_cast<std::uint32_t>(state.seed), static_cast<std::uint32_t>(state.seed >> 32)})[0];
    const std::uint32_t next = left ^ (mixed & mask);
    left = right;
    right = next;
  }
  return std::uint64_t{left} << half | right;
}

}  // namespace

Index next_of_epoch(Index count, Rng& rng) {
  check(count >= 1 && count <= Index{1} << 32, "an epoch of ", count,
        " examples is not allowed; 1 to 2^32");
  const RandomState state = rng.reserve(1);
  const auto examples = static_cast<std::uint64_t>(count);
  const auto epoch = static_cast<std::uint32_t>(state.position / examples);
  const int half = std::max(1, (static_cast<int>(std::bit_width(examples - 1)) + 1) / 2);
  // Numbers beyond the last example lead on along the permutation's cycle to one that is there.
  std::uint64_t number = state.position % examples;
  do {
    number = permuted(number, half, epoch, state);
  } while (number >= examples);
  return static_cast<Index>(number);
}

}  // namespace vla
