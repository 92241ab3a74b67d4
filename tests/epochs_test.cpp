// The order of examples: every one once an epoch, the same whenever it is asked for.
#include "tasks/epochs.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>

#include "tests/compare.hpp"

namespace vla {
namespace {

std::vector<Index> epoch_of(Index count, Rng& rng) {
  std::vector<Index> examples;
  for (Index i = 0; i < count; ++i) examples.push_back(next_of_epoch(count, rng));
  return examples;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(epochs)

BOOST_AUTO_TEST_CASE(an_epoch_has_every_example_once) {
  for (Index count : {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4096, 45000}) {
    Rng rng(3, 1);
    for (int epoch = 0; epoch < 3; ++epoch) {
      std::vector<Index> examples = epoch_of(count, rng);
      std::ranges::sort(examples);
      bool whole = true;
      for (Index i = 0; i < count; ++i) whole &= examples[static_cast<std::size_t>(i)] == i;
      BOOST_TEST(whole, count << ", epoch " << epoch);
    }
    BOOST_TEST(rng.state().position == static_cast<std::uint64_t>(3 * count));
  }
}

BOOST_AUTO_TEST_CASE(an_order_follows_from_seed_stream_and_epoch) {
  constexpr Index count = 200;
  std::set<std::vector<Index>> orders;
  for (std::uint64_t seed : {1, 2})
    for (std::uint64_t stream : {1, 2}) {
      Rng rng(seed, stream);
      for (int epoch = 0; epoch < 4; ++epoch) orders.insert(epoch_of(count, rng));
    }
  BOOST_TEST(orders.size() == 16);
  // Any place of any epoch, without those before.
  Rng rng(1, 2);
  const std::vector<Index> first = epoch_of(count, rng), second = epoch_of(count, rng);
  Rng later(RandomState{1, 2, count + 77});
  BOOST_TEST(next_of_epoch(count, later) == second[77]);
}

// Where an example comes says nothing about which it is.
BOOST_AUTO_TEST_CASE(an_order_has_no_pattern) {
  for (Index count : {5, 7, 10}) {
    const auto size = static_cast<std::size_t>(count);
    std::vector<Index> places(size * size), pairs(size * size);
    constexpr int kEpochs = 20000;
    Rng rng(1);
    for (int epoch = 0; epoch < kEpochs; ++epoch) {
      const std::vector<Index> order = epoch_of(count, rng);
      for (std::size_t i = 0; i < size; ++i) {
        ++places[i * size + static_cast<std::size_t>(order[i])];
        if (i > 0)
          ++pairs[static_cast<std::size_t>(order[i - 1]) * size +
                  static_cast<std::size_t>(order[i])];
      }
    }
    // Within six standard deviations of even.
    const double share = 1.0 / static_cast<double>(count);
    const double slack = 6 * std::sqrt(kEpochs * share);
    for (Index seen : places) BOOST_TEST(std::abs(double(seen) - kEpochs * share) < slack);
    for (std::size_t a = 0; a < size; ++a)
      for (std::size_t b = 0; b < size; ++b)
        if (a != b) BOOST_TEST(std::abs(double(pairs[a * size + b]) - kEpochs * share) < slack);
  }
}

BOOST_AUTO_TEST_CASE(an_epoch_without_examples_is_refused) {
  Rng rng(1);
  BOOST_CHECK_EXCEPTION(next_of_epoch(0, rng), Error,
                        says("an epoch of 0 examples is not allowed; 1 to 2^32"));
  BOOST_CHECK_THROW(next_of_epoch((Index{1} << 32) + 1, rng), Error);
  BOOST_TEST(next_of_epoch(Index{1} << 32, rng) < Index{1} << 32);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
