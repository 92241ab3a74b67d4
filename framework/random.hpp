// Counter-based random numbers: the n-th word of a stream is a pure function of (seed, stream, n),
// so it is the same on every device, in every order, and after a resume.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "framework/host_device.hpp"
#include "framework/tensor.hpp"

namespace vla {

/// Philox 4x32 with 10 rounds: four random words from a counter and a key.
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
VLA_HOST_DEVICE inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                           std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// A place in a stream of random words.
struct RandomState {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  std::uint64_t position = 0;  // words drawn so far
  friend bool operator==(const RandomState&, const RandomState&) = default;
};

/// Word `state.position + ahead` of the stream.
VLA_HOST_DEVICE inline std::uint32_t random_word(const RandomState& state, std::uint64_t ahead) {
  const std::uint64_t position = state.position + ahead;
  const std::uint64_t block = position / 4;
  return philox(
      {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
       static_cast<std::uint32_t>(state.stream), static_cast<std::uint32_t>(state.stream >> 32)},
      {static_cast<std::uint32_t>(state.seed),
       static_cast<std::uint32_t>(state.seed >> 32)})[position % 4];
}

/// A word as a number in [0, 1): its upper 24 bits, exact in float32.
VLA_HOST_DEVICE inline float unit_interval(std::uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

/// Draws from a stream, one after the other.
class Rng {
 public:
  /// At the start of a stream.
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0) : state_{seed, stream, 0} {}
  /// At any place of one.
  explicit Rng(const RandomState& state) : state_(state) {}

  /// Where it is: an Rng made from it draws the same from here on.
  const RandomState& state() const { return state_; }
  /// Skips `words` words and returns where they began: for ops that draw them by themselves.
  RandomState reserve(std::uint64_t words);
  /// Another stream of the same seed, from its start.
  Rng fork(std::uint64_t stream) const { return Rng(state_.seed, stream); }

  /// The next word: 32 random bits.
  std::uint32_t word();
  /// Uniform in [0, 1) with 53 random bits (two words).
  double uniform();
  /// Standard normal (four words, Box-Muller).
  double normal();
  /// Uniform in 0 .. n-1, without bias. Throws Error unless 1 <= n <= 2^32.
  Index below(Index n);
  /// `count` different numbers out of 0 .. n-1, in random order. Throws Error if count > n.
  std::vector<Index> distinct(Index count, Index n);

  /// Independent draws, uniform in [low, high), on the CPU. float32 or float64.
  Tensor uniform(const Shape& shape, DType dtype, double low = 0, double high = 1);
  /// Independent normal draws, on the CPU. float32 or float64.
  Tensor normal(const Shape& shape, DType dtype, double mean = 0, double deviation = 1);

 private:
  RandomState state_;
  // The Philox block that holds the last word drawn: four words for the price of one.
  std::uint64_t cached_block_ = ~std::uint64_t{0};
  std::array<std::uint32_t, 4> cached_words_{};
};

/// Words that this thread has reserved so far, of whatever stream: whether a function draws random
/// numbers in its ops shows in it.
std::uint64_t words_reserved();

}  // namespace vla
