// Random numbers: known answers, distributions, streams.

#include "framework/random.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/compare.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(random)

// The known answers that the authors of Philox publish with their Random123 library.
BOOST_AUTO_TEST_CASE(philox_known_answers) {
  using Words = std::array<std::uint32_t, 4>;
  const std::uint32_t ones = 0xffffffff;
  BOOST_TEST(
      (philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  BOOST_TEST((philox({ones, ones, ones, ones}, {ones, ones}) ==
              Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  BOOST_TEST((philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

BOOST_AUTO_TEST_CASE(a_word_depends_on_its_place_alone) {
  Rng rng(7, 3);
  std::vector<std::uint32_t> drawn;
  for (int i = 0; i < 11; ++i) drawn.push_back(rng.word());
  for (std::size_t i = 0; i < drawn.size(); ++i) BOOST_TEST(drawn[i] == random_word({7, 3, 0}, i));
  BOOST_TEST(drawn[5] == random_word({7, 3, 2}, 3));

  Rng resumed(RandomState{7, 3, 6});
  BOOST_TEST(resumed.word() == drawn[6]);
  Rng skipping(7, 3);
  skipping.word();
  const RandomState reserved = skipping.reserve(5);
  BOOST_TEST(reserved.position == 1u);
  BOOST_TEST(skipping.word() == drawn[6]);
  BOOST_TEST((skipping.state() == RandomState{7, 3, 7}));
}

BOOST_AUTO_TEST_CASE(seeds_and_streams_differ) {
  std::set<std::uint32_t> words;
  for (std::uint64_t seed : {0ull, 1ull, 1ull << 32})
    for (std::uint64_t stream : {0ull, 1ull, 1ull << 32})
      words.insert(random_word({seed, stream, 0}, 0));
  BOOST_TEST(words.size() == 9u);
  BOOST_TEST(Rng(5).fork(2).word() == Rng(5, 2).word());
}

BOOST_AUTO_TEST_CASE(unit_interval_stays_below_one) {
  BOOST_TEST(unit_interval(0) == 0);
  BOOST_TEST(unit_interval(0xffffffff) < 1);
}

// Bounds in the tests below are five standard deviations wide: the seeds are fixed, but another
// generator that is right would pass as well.
BOOST_AUTO_TEST_CASE(uniform_numbers) {
  Rng rng(1);
  constexpr int kCount = 100'000;
  double sum = 0, low = 1, high = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.uniform();
    sum += x;
    low = std::min(low, x);
    high = std::max(high, x);
  }
  BOOST_TEST(low >= 0);
  BOOST_TEST(low < 1e-3);
  BOOST_TEST(high < 1);
  BOOST_TEST(high > 1 - 1e-3);
  BOOST_TEST(std::abs(sum / kCount - 0.5) < 5 / std::sqrt(12.0 * kCount));
  BOOST_TEST(rng.state().position == 2u * kCount);
}

BOOST_AUTO_TEST_CASE(normal_numbers) {
  Rng rng(1);
  const Tensor x = rng.normal({100'000}, DType::float64, 3, 2);
  double sum = 0, squares = 0;
  for (double value : x.values<double>()) {
    sum += value - 3;
    squares += (value - 3) * (value - 3);
  }
  BOOST_TEST(std::abs(sum / 1e5) < 5 * 2 / std::sqrt(1e5));
  BOOST_TEST(std::abs(squares / 1e5 - 4) < 5 * 4 * std::sqrt(2 / 1e5));
  const Tensor narrow = Rng(2).normal({50}, DType::float32);
  check_close(narrow, Rng(2).normal({50}, DType::float64), 1e-7);
}

BOOST_AUTO_TEST_CASE(whole_numbers_are_unbiased) {
  Rng rng(1);
  constexpr Index kRange = 7, kCount = 70'000;
  std::vector<Index> counts(kRange);
  for (Index i = 0; i < kCount; ++i) ++counts[static_cast<std::size_t>(rng.below(kRange))];
  for (Index count : counts) BOOST_TEST(std::abs(count - 10'000) < 5 * std::sqrt(10'000.0));

  // Three quarters of 2^32: a plain remainder would favour the lowest third by two to one.
  constexpr Index kLarge = Index{3} << 30;
  Index low = 0;
  for (Index i = 0; i < 30'000; ++i) low += rng.below(kLarge) < kLarge / 3;
  BOOST_TEST(std::abs(low - 10'000) < 5 * std::sqrt(30'000 * 2 / 9.0));

  BOOST_TEST(rng.below(1) == 0);
  BOOST_TEST(rng.below(Index{1} << 32) >= 0);
  BOOST_CHECK_EXCEPTION(rng.below(0), Error, says("random number below 0; allowed: 1 to 2^32"));
}

BOOST_AUTO_TEST_CASE(distinct_numbers) {
  Rng rng(1);
  std::vector<int> first(5);
  for (int round = 0; round < 10'000; ++round) {
    const std::vector<Index> numbers = rng.distinct(3, 5);
    const std::set<Index> different(numbers.begin(), numbers.end());
    BOOST_REQUIRE_EQUAL(different.size(), 3u);
    BOOST_REQUIRE(*different.begin() >= 0 && *different.rbegin() < 5);
    ++first[static_cast<std::size_t>(numbers[0])];
  }
  for (int count : first) BOOST_TEST(std::abs(count - 2000) < 5 * std::sqrt(10'000 * 0.16));
  std::vector<Index> all = rng.distinct(4, 4);
  std::sort(all.begin(), all.end());
  BOOST_TEST(all == (std::vector<Index>{0, 1, 2, 3}));
  BOOST_TEST(rng.distinct(0, 0).empty());
  BOOST_CHECK_EXCEPTION(rng.distinct(6, 5), Error,
                        says("cannot draw 6 different numbers out of 5"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
