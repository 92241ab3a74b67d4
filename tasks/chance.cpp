#include "tasks/chance.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace vla {
namespace {

// The probability that none of `symbols` symbols comes more than `most` times in `draws` uniform
// draws, draws <= symbols: draws! / symbols^draws times coefficient number `draws` of the power
// (sum of x^j / j! for j <= most)^symbols, by the recurrence for powers of a series (all of its
// terms are positive here). x is scaled by draws / symbols, and the coefficients are rescaled on
// the way, so that nothing overflows.
double probability_none_above(Index most, Index draws, Index symbols) {
  const double n = static_cast<double>(draws), exponent = static_cast<double>(symbols);
  std::vector<double> base{1}, power{1};
  for (Index j = 1; j <= most; ++j)
    base.push_back(base.back() * n / exponent / static_cast<double>(j));
  double log_scale = 0;
  for (Index i = 1; i <= draws; ++i) {
    double sum = 0;
    const Index first = std::max<Index>(i - most, 0);
    for (Index before = first; before < i; ++before) {
      const double j = static_cast<double>(i - before);
      sum += (j * (exponent + 1) - static_cast<double>(i)) *
             base[static_cast<std::size_t>(i - before)] * power[static_cast<std::size_t>(before)];
    }
    power.push_back(sum / static_cast<double>(i));
    if (power.back() > 1e100) {
      const double scale = power.back();
      log_scale += std::log(scale);
      for (Index k = first; k <= i; ++k) power[static_cast<std::size_t>(k)] /= scale;
    }
  }
  return std::exp(std::log(power.back()) + log_scale + std::lgamma(n + 1) - n * std::log(n));
}

}  // namespace

double most_frequent_share(Index draws, Index symbols) {
  check(draws >= 1 && draws <= symbols, "most frequent share of ", draws, " draws out of ", symbols,
        " symbols; 1 to ", symbols, " draws are allowed");
  double expected_count = 1;  // the sum over m >= 0 of P(one comes above m times); here m = 0
  for (Index m = 1; m < draws; ++m) {
    const double above = 1 - probability_none_above(m, draws, symbols);
    if (above < 1e-9) break;
    expected_count += above;
  }
  return expected_count / static_cast<double>(draws);
}

double most_frequent_target_share(const Task& task, Index examples) {
  check(examples >= 1, "most frequent target of ", examples, " examples; 1 or more are allowed");
  constexpr Index kBatch = 50;
  Rng rng(0, ~std::uint64_t{0});  // not a stream of runs
  std::vector<Index> counts(static_cast<std::size_t>(task.vocabulary()));
  Index counted = 0;
  for (Index done = 0; done < examples; done += kBatch) {
    const Batch batch = task.sample_held_out(std::min(kBatch, examples - done), rng);
    for (const Index target : batch.targets.values<Index>()) {
      if (target == kIgnoredTarget) continue;
      ++counts[static_cast<std::size_t>(target)];
      ++counted;
    }
  }
  return static_cast<double>(std::ranges::max(counts)) / static_cast<double>(counted);
}

double guess_share(std::span<const Index> training, std::span<const Index> held_out) {
  const auto guess = std::ranges::max_element(training) - training.begin();
  const Index all = std::accumulate(held_out.begin(), held_out.end(), Index{0});
  return static_cast<double>(held_out[static_cast<std::size_t>(guess)]) / static_cast<double>(all);
}

}  // namespace vla
