#include "framework/random.hpp"

#include <cmath>
#include <numbers>
#include <numeric>

namespace vla {
namespace {

thread_local std::uint64_t reserved_words = 0;

}  // namespace

std::uint64_t words_reserved() { return reserved_words; }

RandomState Rng::reserve(std::uint64_t words) {
  RandomState begin = state_;
  reserved_words += words;
  state_.position += words;
  return begin;
}

std::uint32_t Rng::word() {
  const std::uint64_t block = state_.position / 4;
  if (block != cached_block_) {
    const RandomState start{state_.seed, state_.stream, block * 4};
    for (std::size_t i = 0; i < 4; ++i) cached_words_[i] = random_word(start, i);
    cached_block_ = block;
  }
  return cached_words_[state_.position++ % 4];
}

double Rng::uniform() {
  const std::uint64_t high = word() >> 5, low = word() >> 6;
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

double Rng::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

Index Rng::below(Index n) {
  check(n >= 1 && n <= Index{1} << 32, "random number below ", n, "; allowed: 1 to 2^32");
  // Lemire's multiplication with rejection of the few words that would favour small results.
  const std::uint64_t range = static_cast<std::uint64_t>(n);
  const std::uint64_t rejected = (std::uint64_t{1} << 32) % range;
  for (;;) {
    const std::uint64_t product = word() * range;
    if ((product & 0xFFFFFFFF) >= rejected) return static_cast<Index>(product >> 32);
  }
}

std::vector<Index> Rng::distinct(Index count, Index n) {
  check(count >= 0 && count <= n, "cannot draw ", count, " different numbers out of ", n);
  std::vector<Index> numbers(static_cast<std::size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  for (Index i = 0; i < count; ++i)
    std::swap(numbers[static_cast<std::size_t>(i)],
              numbers[static_cast<std::size_t>(i + below(n - i))]);
  numbers.resize(static_cast<std::size_t>(count));
  return numbers;
}

Tensor Rng::uniform(const Shape& shape, DType dtype, double low, double high) {
  Tensor result(shape, dtype);
  dispatch_floating(dtype, "uniform", [&](auto zero) {
    for (auto& value : result.mutable_values<decltype(zero)>())
      value = static_cast<decltype(zero)>(low + (high - low) * uniform());
  });
  return result;
}

Tensor Rng::normal(const Shape& shape, DType dtype, double mean, double deviation) {
  Tensor result(shape, dtype);
  dispatch_floating(dtype, "normal", [&](auto zero) {
    for (auto& value : result.mutable_values<decltype(zero)>())
      value = static_cast<decltype(zero)>(mean + deviation * normal());
  });
  return result;
}

}  // namespace vla
