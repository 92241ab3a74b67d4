// The two forms of MQAR by their definition, and the accuracy that takes no skill.
#include "tasks/mqar.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tests/error_of.hpp"

namespace vla {
namespace {

MqarOptions zoology(Index pairs, Index vocabulary, Index length) {
  return {.form = MqarForm::zoology, .pairs = pairs, .vocabulary = vocabulary, .length = length};
}

// One example as lists, and its context as a map from key to value.
struct Example {
  std::vector<Index> tokens, targets;
  std::map<Index, Index> context;
};

std::vector<Example> examples(const Mqar& task, Index count, std::uint64_t seed) {
  Rng rng(seed);
  const Batch batch = task.sample(count, rng);
  BOOST_REQUIRE_EQUAL(batch.tokens.shape(), Shape({count, task.length()}));
  BOOST_REQUIRE_EQUAL(batch.targets.shape(), Shape({count, task.length()}));
  std::vector<Example> result;
  for (Index b = 0; b < count; ++b) {
    const auto row = [&](const Tensor& all) {
      const Index* start = all.data<Index>() + b * task.length();
      return std::vector<Index>(start, start + task.length());
    };
    Example example{row(batch.tokens), row(batch.targets), {}};
    for (std::size_t i = 0; i < static_cast<std::size_t>(task.options().pairs); ++i)
      example.context.emplace(example.tokens[2 * i], example.tokens[2 * i + 1]);
    result.push_back(std::move(example));
  }
  return result;
}

std::string message(const MqarOptions& options) {
  return error_of([&] { Mqar task(options); });
}

bool same(const Tensor& a, const Tensor& b) {
  return std::ranges::equal(a.values<Index>(), b.values<Index>());
}

// The share of targets hit by always naming the most frequent value of the context.
double simulated_chance(const Mqar& task, Index count) {
  double right = 0, asked = 0;
  for (const Example& example : examples(task, count, 5)) {
    std::map<Index, Index> frequency;
    for (const auto& [key, value] : example.context) ++frequency[value];
    const Index guess = std::ranges::max_element(frequency, {}, [](const auto& entry) {
                          return entry.second;
                        })->first;
    for (Index target : example.targets) {
      if (target == kIgnoredTarget) continue;
      ++asked;
      if (target == guess) ++right;
    }
  }
  return right / asked;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(mqar)

BOOST_AUTO_TEST_CASE(notebook_form_holds_its_definition) {
  for (const MqarOptions& options :
       {MqarOptions{}, MqarOptions{.pairs = 1, .vocabulary = 2}, MqarOptions{.pairs = 127},
        MqarOptions{.pairs = 5, .vocabulary = 17, .length = 100},
        MqarOptions{.pairs = 5, .vocabulary = 6, .length = 12}}) {
    const Mqar task(options);
    const Index pairs = options.pairs, separator = options.vocabulary - 1;
    BOOST_TEST(task.length() == (options.length == 0 ? 3 * pairs + 1 : options.length));
    for (const Example& example : examples(task, 20, 1)) {
      BOOST_TEST(example.context.size() == static_cast<std::size_t>(pairs));  // keys are distinct
      for (Index t = 0; t < task.length(); ++t) {
        const Index token = example.tokens[static_cast<std::size_t>(t)];
        const Index target = example.targets[static_cast<std::size_t>(t)];
        if (t <= 2 * pairs) {
          BOOST_TEST((t == 2 * pairs ? token == separator : token >= 0 && token < separator));
          BOOST_TEST(target == kIgnoredTarget);
        } else {
          BOOST_REQUIRE(example.context.contains(token));
          BOOST_TEST(target == example.context.at(token));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(notebook_form_repeats_values_and_queries) {
  bool repeated_value = false, repeated_query = false, key_as_value = false;
  for (const Example& example : examples(Mqar(), 200, 2)) {
    std::set<Index> values, queries(example.tokens.begin() + 17, example.tokens.end());
    for (const auto& [key, value] : example.context) {
      values.insert(value);
      key_as_value |= example.context.contains(value);
    }
    repeated_value |= values.size() < 8;
    repeated_query |= queries.size() < 8;
  }
  BOOST_TEST(repeated_value);
  BOOST_TEST(repeated_query);
  BOOST_TEST(key_as_value);  // keys and values share an alphabet
}

BOOST_AUTO_TEST_CASE(zoology_form_holds_its_definition) {
  for (MqarOptions options : {zoology(4, 8192, 64), zoology(8, 128, 0), zoology(1, 6, 4),
                              zoology(16, 65, 64), zoology(3, 100, 60)}) {
    if (options.pairs == 3) options.passes = 4;
    const Mqar task(options);
    const Index pairs = options.pairs, half = options.vocabulary / 2;
    const Index context = 2 * pairs * options.passes;
    for (const Example& example : examples(task, 20, 1)) {
      BOOST_TEST(example.context.size() == static_cast<std::size_t>(pairs));
      std::set<Index> values, asked;
      for (const auto& [key, value] : example.context) {
        BOOST_TEST((key >= 1 && key < half && value >= half && value < options.vocabulary));
        values.insert(value);
      }
      BOOST_TEST(values.size() == static_cast<std::size_t>(pairs));
      for (Index t = 0; t < task.length(); ++t) {
        const Index token = example.tokens[static_cast<std::size_t>(t)];
        const Index target = example.targets[static_cast<std::size_t>(t)];
        BOOST_TEST((token >= 0 && token < options.vocabulary));
        if (t < context) {
          BOOST_TEST(token == example.tokens[static_cast<std::size_t>(t % (2 * pairs))]);
          BOOST_TEST(target == kIgnoredTarget);
        } else if (target != kIgnoredTarget) {
          BOOST_TEST((t - context) % 2 == 0);
          BOOST_REQUIRE(example.context.contains(token));
          BOOST_TEST(target == example.context.at(token));
          BOOST_TEST(asked.insert(token).second);
        }
      }
      BOOST_TEST(asked.size() == static_cast<std::size_t>(pairs));  // each key exactly once
    }
  }
}

BOOST_AUTO_TEST_CASE(zoology_filler_is_random_or_zero) {
  MqarOptions options = zoology(4, 8192, 64);
  for (bool random : {true, false}) {
    options.random_filler = random;
    std::set<Index> filler;
    for (const Example& example : examples(Mqar(options), 50, 3))
      for (std::size_t t = 8; t < 64; ++t)
        if (example.targets[t] == kIgnoredTarget) filler.insert(example.tokens[t]);
    if (random) BOOST_TEST(filler.size() > 1000);
    if (!random) BOOST_TEST(filler == std::set<Index>{0}, boost::test_tools::per_element());
  }
}

// One query per example, so the place drawn has the weight i^(power - 1) itself.
BOOST_AUTO_TEST_CASE(zoology_queries_come_early_by_the_power_law) {
  const Index count = 20000, slots = 31;
  for (double power : {0.01, 1.0}) {
    MqarOptions options = zoology(1, 8192, 64);
    options.power = power;
    std::vector<double> drawn(slots, 0);
    for (const Example& example : examples(Mqar(options), count, 4))
      for (std::size_t slot = 0; slot < slots; ++slot)
        if (example.targets[2 + 2 * slot] != kIgnoredTarget) ++drawn[slot];
    double total = 0;
    for (Index i = 1; i <= slots; ++i) total += std::pow(i, power - 1);
    for (Index i = 1; i <= slots; ++i) {
      const double share = std::pow(i, power - 1) / total;
      const double deviation = std::sqrt(share * (1 - share) * static_cast<double>(count));
      BOOST_TEST(std::abs(drawn[static_cast<std::size_t>(i - 1)] -
                          share * static_cast<double>(count)) < 5 * deviation);
    }
  }
}

BOOST_AUTO_TEST_CASE(several_queries_favour_short_gaps_and_may_fill_the_grid) {
  std::vector<int> drawn(24, 0);
  for (const Example& example : examples(Mqar(zoology(8, 8192, 64)), 2000, 6))
    for (std::size_t slot = 0; slot < 24; ++slot)
      if (example.targets[16 + 2 * slot] != kIgnoredTarget) ++drawn[slot];
  BOOST_TEST(drawn[0] > drawn[3]);
  BOOST_TEST(drawn[3] > drawn[12]);
  BOOST_TEST(drawn[12] > drawn[23]);
  for (const Example& example : examples(Mqar(zoology(16, 8192, 64)), 5, 6))
    for (std::size_t slot = 0; slot < 16; ++slot)
      BOOST_TEST(example.targets[32 + 2 * slot] != kIgnoredTarget);
}

BOOST_AUTO_TEST_CASE(the_mix_has_the_sizes_of_zoology_in_their_shares) {
  const Mqar task({.form = MqarForm::zoology_mix, .vocabulary = 8192});
  BOOST_TEST(task.length() == 256);
  std::map<Index, double> seen;  // by pairs
  for (const Example& example : examples(task, 9000, 8)) {
    std::map<Index, Index> answers;
    const auto asked = static_cast<Index>(example.targets.size()) -
                       std::ranges::count(example.targets, kIgnoredTarget);
    const auto* size = std::ranges::find(kZoologySizes, asked, &ZoologySize::pairs);
    BOOST_REQUIRE(size != std::end(kZoologySizes));
    ++seen[asked];
    for (Index i = 0; i < asked; ++i) answers[example.tokens[2 * i]] = example.tokens[2 * i + 1];
    for (std::size_t t = 0; t < 256; ++t) {
      if (example.targets[t] != kIgnoredTarget)
        BOOST_TEST(answers.at(example.tokens[t]) == example.targets[t]);
      if (static_cast<Index>(t) >= size->length) BOOST_TEST(example.tokens[t] == 0);
    }
  }
  for (const ZoologySize& size : kZoologySizes) {
    const double expected = 9000.0 * static_cast<double>(size.share) / 180;
    BOOST_TEST(std::abs(seen[size.pairs] - expected) < 5 * std::sqrt(expected));
  }
  BOOST_TEST(Mqar({.form = MqarForm::zoology_mix, .vocabulary = 8192, .length = 300}).length() ==
             300);
}

BOOST_AUTO_TEST_CASE(a_batch_follows_from_the_state_of_the_generator) {
  for (const MqarOptions& options : {MqarOptions{}, zoology(8, 128, 0)}) {
    const Mqar task(options);
    Rng rng(7, 1);
    task.sample(3, rng);
    const RandomState state = rng.state();
    const Batch next = task.sample(4, rng);
    Rng resumed(state), other(8, 1);
    const Batch again = task.sample(4, resumed);
    BOOST_TEST(same(next.tokens, again.tokens));
    BOOST_TEST(same(next.targets, again.targets));
    BOOST_TEST((rng.state() == resumed.state()));
    BOOST_TEST(!same(next.tokens, task.sample(4, other).tokens));
  }
}

BOOST_AUTO_TEST_CASE(an_empty_batch_has_no_examples) {
  Rng rng(1);
  BOOST_TEST(Mqar().sample(0, rng).tokens.shape() == Shape({0, 25}));
  BOOST_CHECK_THROW(Mqar().sample(-1, rng), Error);
}

BOOST_AUTO_TEST_CASE(chance_is_what_a_guesser_reaches) {
  for (const MqarOptions& options :
       {MqarOptions{}, MqarOptions{.pairs = 4, .vocabulary = 8}, MqarOptions{.pairs = 60},
        zoology(4, 64, 32), zoology(8, 128, 0)}) {
    const Mqar task(options);
    BOOST_TEST(task.chance() == simulated_chance(task, 4000), boost::test_tools::tolerance(0.03));
  }
  BOOST_TEST(Mqar({.pairs = 1}).chance() == 1);
  // One right answer in each of 180 examples with 2800 queries.
  BOOST_TEST(Mqar({.form = MqarForm::zoology_mix, .vocabulary = 512}).chance() == 180.0 / 2800);
  // Two draws out of two symbols: both alike half of the time.
  BOOST_TEST(Mqar({.pairs = 2, .vocabulary = 3}).chance() == 0.75,
             boost::test_tools::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(settings_without_room_are_refused_with_what_is_allowed) {
  BOOST_TEST(message({.pairs = 70, .vocabulary = 65}) ==
             "mqar: pairs 70 needs at least 70 keys, vocabulary has 64 and the separator");
  BOOST_TEST(message({.pairs = 0}) == "mqar: pairs 0 is not allowed; 1 or more");
  BOOST_TEST(message({.length = 17}) ==
             "mqar: length 17 is too short for 8 pairs, the separator and a query; 18 or more");
  BOOST_TEST(message({.pairs = 1, .vocabulary = 1}).starts_with("mqar: vocabulary 1 is not"));
  BOOST_TEST(message({.length = -1}).starts_with("mqar: length -1 is not allowed"));
  BOOST_TEST(message({.passes = 2}).starts_with("mqar: passes 2 is not allowed"));
  BOOST_TEST(message(zoology(64, 128, 0)) ==
             "mqar: pairs 64 needs at least 64 keys, vocabulary has 63 (half of 128, without 0)");
  BOOST_TEST(message(zoology(4, 64, 64)) ==
             "mqar: length 64 needs a vocabulary above it in the zoology form, vocabulary is 64");
  BOOST_TEST(message(zoology(4, 64, 15)) ==
             "mqar: length 15 is odd; the zoology form needs an even one");
  BOOST_TEST(message(zoology(4, 64, 14)) ==
             "mqar: length 14 is too short for 4 pairs shown 1 times and as many queries; 16 or "
             "more");
  BOOST_TEST(message({.form = MqarForm::zoology_mix, .vocabulary = 8192, .length = 128}) ==
             "mqar: length 128 is too short for the zoology-mix form; 256 or more");
  BOOST_TEST(message({.form = MqarForm::zoology_mix, .vocabulary = 128}) ==
             "mqar: pairs 64 needs at least 64 keys, vocabulary has 63 (half of 128, without 0)");
  BOOST_TEST(message({.form = MqarForm::zoology_mix, .vocabulary = 8192, .passes = 2}) ==
             "mqar: passes 2 is not allowed in the zoology-mix form; 1");
  MqarOptions options = zoology(4, 64, 16);
  options.power = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(message(options) == "mqar: power nan is not allowed; above 0");
  options = zoology(4, 64, 16);
  options.passes = Index{1} << 62;
  BOOST_TEST(message(options).starts_with("mqar: passes "));
  BOOST_TEST(message({.pairs = Index{1} << 62}).starts_with("mqar: pairs "));
}

BOOST_AUTO_TEST_CASE(a_score_counts_what_is_asked) {
  const Tensor logits = Tensor::from<float>({2, 2, 3}, {0, 5, 1, 2, 2, 0, 9, 9, 9, -1, -2, -3});
  const Tensor targets = Tensor::from<Index>({2, 2}, {1, 0, kIgnoredTarget, 2});
  Score total = score(logits, targets);
  BOOST_TEST(total.right == 2);
  BOOST_TEST(total.counted == 3);
  total += score(logits.to(DType::float64), targets);
  BOOST_TEST(total.accuracy() == 2.0 / 3);
  BOOST_TEST(Score{}.accuracy() == 0);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  BOOST_TEST(score(Tensor::from<float>({1, 2}, {nan, nan}), Tensor::from<Index>({1}, {0})).right ==
             0);
  BOOST_CHECK_THROW(score(logits, Tensor::zeros({2, 3}, DType::int64)), Error);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
