#include "tasks/mqar.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "tasks/chance.hpp"

namespace vla {
namespace {

constexpr Index kMostPasses = 1024;

// `count` places out of 0 .. slots-1, drawn one after the other without replacement, place i with
// weight (i + 1)^(power - 1). Each place arrives after an exponential time whose rate is its
// weight; the order of arrival is the order of the draws. Source: Efraimidis and Spirakis,
// "Weighted random sampling with a reservoir", 2006.
std::vector<Index> early_places(Index count, Index slots, double power, Rng& rng) {
  std::vector<double> arrival(static_cast<std::size_t>(slots));
  for (std::size_t i = 0; i < arrival.size(); ++i)
    arrival[i] = -std::log1p(-rng.uniform()) * std::pow(static_cast<double>(i + 1), 1 - power);
  std::vector<Index> places(arrival.size());
  std::iota(places.begin(), places.end(), 0);
  std::partial_sort(places.begin(), places.begin() + count, places.end(), [&](Index a, Index b) {
    return arrival[static_cast<std::size_t>(a)] < arrival[static_cast<std::size_t>(b)];
  });
  places.resize(static_cast<std::size_t>(count));
  return places;
}

}  // namespace

MqarForm parse_mqar_form(std::string_view name) {
  if (name == "notebook") return MqarForm::notebook;
  if (name == "zoology") return MqarForm::zoology;
  if (name == "zoology-mix") return MqarForm::zoology_mix;
  fail("mqar: unknown form '", name, "'; allowed: notebook, zoology, zoology-mix");
}

Mqar::Mqar(const MqarOptions& options) : options_(options) {
  check(options_.pairs >= 1, "mqar: pairs ", options_.pairs, " is not allowed; 1 or more");
  check(options_.vocabulary >= 2 && options_.vocabulary <= kLargestVocabulary, "mqar: vocabulary ",
        options_.vocabulary, " is not allowed; 2 to ", kLargestVocabulary);
  check(options_.length >= 0 && options_.length <= kLongestSequence, "mqar: length ",
        options_.length, " is not allowed; 1 to ", kLongestSequence, ", or 0 for the usual one");
  switch (options_.form) {
    case MqarForm::notebook:
      check_notebook();
      if (options_.length == 0) options_.length = 3 * options_.pairs + 1;
      return;
    case MqarForm::zoology:
      check_zoology(options_.pairs, options_.length);
      if (options_.length == 0)
        options_.length = 2 * options_.pairs * options_.passes + 6 * options_.pairs;
      break;
    case MqarForm::zoology_mix:
      check(options_.passes == 1, "mqar: passes ", options_.passes,
            " is not allowed in the zoology-mix form; 1");
      for (const auto& [length, pairs, share] : kZoologySizes) {
        check_zoology(pairs, length);
        check(options_.length == 0 || options_.length >= length, "mqar: length ", options_.length,
              " is too short for the zoology-mix form; ", length, " or more");
      }
      if (options_.length == 0)
        options_.length = std::ranges::max(kZoologySizes, {}, &ZoologySize::length).length;
      break;
  }
  check(options_.vocabulary > options_.length, "mqar: length ", options_.length,
        " needs a vocabulary above it in the zoology form, vocabulary is ", options_.vocabulary);
}

void Mqar::check_notebook() const {
  const auto& [form, pairs, vocabulary, length, power, passes, random_filler] = options_;
  check(pairs <= vocabulary - 1, "mqar: pairs ", pairs, " needs at least ", pairs,
        " keys, vocabulary has ", vocabulary - 1, " and the separator");
  check(length == 0 || length >= 2 * pairs + 2, "mqar: length ", length, " is too short for ",
        pairs, " pairs, the separator and a query; ", 2 * pairs + 2, " or more");
  check(passes == 1, "mqar: passes ", passes, " is not allowed in the notebook form; 1");
}

void Mqar::check_zoology(Index pairs, Index length) const {
  const Index vocabulary = options_.vocabulary, passes = options_.passes;
  const double power = options_.power;
  const Index keys = vocabulary / 2 - 1;
  check(pairs <= keys, "mqar: pairs ", pairs, " needs at least ", pairs, " keys, vocabulary has ",
        keys, " (half of ", vocabulary, ", without 0)");
  check(passes >= 1 && passes <= kMostPasses, "mqar: passes ", passes, " is not allowed; 1 to ",
        kMostPasses);
  check(length % 2 == 0, "mqar: length ", length, " is odd; the zoology form needs an even one");
  const Index shortest = 2 * pairs * passes + 2 * pairs;
  check(length == 0 || length >= shortest, "mqar: length ", length, " is too short for ", pairs,
        " pairs shown ", passes, " times and as many queries; ", shortest, " or more");
  check(std::isfinite(power) && power > 0, "mqar: power ", power, " is not allowed; above 0");
}

double Mqar::chance() const {
  if (options_.form == MqarForm::zoology) return 1 / static_cast<double>(options_.pairs);
  if (options_.form == MqarForm::zoology_mix) {
    Index examples = 0, targets = 0;  // one in each example is right
    for (const auto& [length, pairs, share] : kZoologySizes) {
      examples += share;
      targets += share * pairs;
    }
    return static_cast<double>(examples) / static_cast<double>(targets);
  }
  return most_frequent_share(options_.pairs, options_.vocabulary - 1);
}

Batch Mqar::sample(Index size, Rng& rng) const {
  return write_batch("mqar", size, options_.length, [&](auto tokens, auto targets) {
    switch (options_.form) {
      case MqarForm::notebook:
        return sample_notebook(tokens, targets, rng);
      case MqarForm::zoology:
        return sample_zoology(options_.pairs, tokens, targets, rng);
      case MqarForm::zoology_mix:
        return sample_mix(tokens, targets, rng);
    }
  });
}

void Mqar::sample_notebook(std::span<Index> tokens, std::span<Index> targets, Rng& rng) const {
  const Index pairs = options_.pairs, separator = options_.vocabulary - 1;
  const std::vector<Index> keys = rng.distinct(pairs, separator);
  for (Index i = 0; i < pairs; ++i) {
    tokens[2 * i] = keys[static_cast<std::size_t>(i)];
    tokens[2 * i + 1] = rng.below(separator);
  }
  tokens[2 * pairs] = separator;
  for (Index t = 2 * pairs + 1; t < options_.length; ++t) {
    const Index asked = rng.below(pairs);
    tokens[t] = tokens[2 * asked];
    targets[t] = tokens[2 * asked + 1];
  }
}

void Mqar::sample_mix(std::span<Index> tokens, std::span<Index> targets, Rng& rng) const {
  Index shares = 0;
  for (const ZoologySize& size : kZoologySizes) shares += size.share;
  Index place = rng.below(shares);
  for (const auto& [length, pairs, share] : kZoologySizes) {
    if (place < share) {
      const auto used = static_cast<std::size_t>(length);
      return sample_zoology(pairs, tokens.first(used), targets.first(used), rng);
    }
    place -= share;
  }
}

void Mqar::sample_zoology(Index pairs, std::span<Index> tokens, std::span<Index> targets,
                          Rng& rng) const {
  const Index vocabulary = options_.vocabulary, half = vocabulary / 2;
  const Index context = 2 * pairs * options_.passes, length = std::ssize(tokens);
  const std::vector<Index> keys = rng.distinct(pairs, half - 1);
  const std::vector<Index> values = rng.distinct(pairs, vocabulary - half);
  const std::vector<Index> places =
      early_places(pairs, (length - context) / 2, options_.power, rng);
  for (Index t = context; t < length; ++t)
    tokens[t] = options_.random_filler ? rng.below(vocabulary) : 0;
  for (Index i = 0; i < pairs; ++i) {
    const Index key = keys[static_cast<std::size_t>(i)] + 1;
    const Index value = values[static_cast<std::size_t>(i)] + half;
    for (Index start = 0; start < context; start += 2 * pairs) {
      tokens[start + 2 * i] = key;
      tokens[start + 2 * i + 1] = value;
    }
    const Index asked = context + 2 * places[static_cast<std::size_t>(i)];
    tokens[asked] = key;
    targets[asked] = value;
  }
}

}  // namespace vla
