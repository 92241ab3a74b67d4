// What holds for every task there is, and how tasks are asked for by name.
#include "tasks/tasks.hpp"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <map>

#include "tasks/chance.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/loader_files.hpp"
#include "tests/task_examples.hpp"
#include "tests/temporary_directory.hpp"
#include "tools/settings.hpp"

namespace vla {
namespace {

bool same(const Tensor& a, const Tensor& b) {
  return std::ranges::equal(a.values<Index>(), b.values<Index>());
}

// A file of letters without a pattern.
std::string letters(std::uint64_t seed) {
  static const TemporaryDirectory directory;
  const std::string path = (directory / std::to_string(seed)).string();
  std::ofstream file(path);
  Rng rng(seed);
  for (int i = 0; i < 8000; ++i) file << static_cast<char>('a' + rng.below(26));
  return path;
}

// A folder of files of every task that reads some.
std::string data_files(std::uint64_t seed) {
  static const TemporaryDirectory directory;
  const std::filesystem::path folder = directory / std::to_string(seed);
  if (!std::filesystem::exists(folder)) {
    write_listops(folder, {.size_above = 10, .size_below = 60}, 200, Rng(seed));
    write_pathfinder(folder, pathfinder_rule(32), 60, Rng(seed));
    write_cifar10_files(folder, 20, Rng(seed));
    write_imdb_files(folder, 50, Rng(seed));
    write_aan_files(folder, 50, Rng(seed));
  }
  return folder.string();
}

// With what the kind cannot do without.
TaskConfig usual(const TaskKind& kind) {
  return {.text = letters(1), .data = kind.required == "data" ? data_files(1) : ""};
}

std::string refused(std::string_view kind, const TaskConfig& config) {
  return error_of([&] { make_task(kind, config); });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tasks)

BOOST_AUTO_TEST_CASE(tasks_are_made_by_name) {
  BOOST_TEST(make_task("mqar")->vocabulary() == 128);
  BOOST_TEST(make_task("mqar", {.pairs = 16})->length() == 49);
  BOOST_TEST(make_task("mqar", {.form = "zoology", .pairs = 8})->length() == 64);
  BOOST_TEST(make_task("copy", {.prefix = 30})->length() == 61);
  BOOST_TEST(make_task("delayed-recall", {.delay = 150})->length() == 300);
  BOOST_TEST(make_task("associative-recall", {.pairs = 4, .queries = 2})->length() == 11);
  BOOST_TEST(make_task("retrieval", {.length = 1024})->length() == 1024);
  BOOST_TEST(make_task("selective-copy", {.items = 3})->length() == 256);
  BOOST_TEST(make_task("listops", {.length = 100})->length() == 100);
  BOOST_TEST(make_task("ancestor", {.chain = 9})->length() == 60);
  BOOST_TEST(make_task("kinship", {.held_out_chain = 9})->length() == 30);
  BOOST_CHECK_EXCEPTION(make_task("mqra"), Error,
                        says("unknown task 'mqra'; allowed: mqar, copy, delayed-recall, "
                             "associative-recall, retrieval, selective-copy, listops, pathfinder, "
                             "ancestor, kinship, cifar10, imdb, aan, text"));
  BOOST_CHECK_EXCEPTION(make_task("mqar", {.form = "zoo"}), Error,
                        says("mqar: unknown form 'zoo'; allowed: notebook, zoology, zoology-mix"));
}

BOOST_AUTO_TEST_CASE(a_kind_names_the_setting_it_requires) {
  for (const TaskKind& kind : task_kinds()) {
    BOOST_TEST((refused(kind.name, {}) == "accepted") == kind.required.empty(), kind.name);
    BOOST_TEST(refused(kind.name, usual(kind)) == "accepted");
    BOOST_TEST((kind.required.empty() ||
                std::ranges::find(kind.settings, kind.required) != kind.settings.end()));
  }
}

BOOST_AUTO_TEST_CASE(the_length_of_a_copy_says_its_prefix) {
  const auto prefix = [](const TaskConfig& config) {
    return dynamic_cast<Copy&>(*make_task("copy", config)).options().prefix;
  };
  BOOST_TEST(prefix({}) == 20);
  BOOST_TEST(prefix({.length = 3}) == 1);
  BOOST_TEST(prefix({.length = 201}) == 100);
  BOOST_TEST(prefix({.length = 81, .prefix = 40}) == 40);
  BOOST_TEST(refused("copy", {.length = 81, .prefix = 20}) ==
             "copy: length 81 does not fit prefix 20; 0 for what follows from the prefix, or "
             "prefix 40");
  for (Index length : {-1, 1, 40})
    BOOST_TEST(refused("copy", {.length = length}) ==
               concatenate("copy: length ", length,
                           " is not allowed; 2n + 1 for a prefix of n, an "
                           "odd number from 3 on"));
}

// Every setting on the command line changes the held-out batches of each kind that is said to use
// it, and of no other.
BOOST_AUTO_TEST_CASE(a_kind_names_the_settings_it_uses) {
  const std::map<std::string_view, std::string> changes = {{"form", "notebook"},
                                                           {"pairs", "9"},
                                                           {"vocabulary", "200"},
                                                           {"length", "301"},
                                                           {"power", "0.5"},
                                                           {"passes", "2"},
                                                           {"queries", "2"},
                                                           {"random-filler", "false"},
                                                           {"repeat-queries", "true"},
                                                           {"distractors", "2"},
                                                           {"prefix", "3"},
                                                           {"shortest-prefix", "2"},
                                                           {"show-answers", "true"},
                                                           {"delay", "2"},
                                                           {"text", letters(2)},
                                                           {"valid-share", "0.3"},
                                                           {"items", "5"},
                                                           {"depth", "6"},
                                                           {"arguments", "8"},
                                                           {"size-above", "300"},
                                                           {"data", data_files(2)},
                                                           {"held-out", "test"},
                                                           {"chain", "6"},
                                                           {"shortest-chain", "2"},
                                                           {"held-out-chain", "7"},
                                                           {"contour", "9"}};
  for (const TaskKind& kind : task_kinds()) {
    TaskConfig start = usual(kind);
    start.form = "zoology";  // the form in which all settings of mqar count
    std::size_t used = 0;
    TaskConfig names;
    visit_task_settings(names, [&](const std::string& name, auto&, const char*) {
      BOOST_REQUIRE_MESSAGE(changes.contains(name), name << " is not tried");
      // Files are held out from files alone.
      TaskConfig config = start;
      if (name == "held-out") config.data = data_files(1);
      const auto usual_task = kind.make(config);
      visit_task_settings(config, [&](const std::string& other, auto& value, const char*) {
        std::string change = changes.at(name);
        if (name == "length" && (kind.name == "mqar" || kind.name == "aan")) change = "100";
        if (name == "length" && kind.name == "pathfinder") change = "65536";
        if (other == name) parse_setting(name, change, value);
      });
      Rng first(1), second(1);
      const auto changed_task = kind.make(config);
      const Batch before = usual_task->sample_held_out(20, first);
      const Batch after = changed_task->sample_held_out(20, second);
      const bool said = std::ranges::find(kind.settings, name) != kind.settings.end();
      used += said;
      BOOST_TEST(
          (!same(before.tokens, after.tokens) || !same(before.targets, after.targets)) == said,
          kind.name << ": " << name);
    });
    BOOST_TEST(used == kind.settings.size());
  }
}

BOOST_AUTO_TEST_CASE(a_batch_follows_from_the_state_of_the_generator) {
  for (const TaskKind& kind : task_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      const auto task = kind.make(usual(kind));
      Rng rng(7, 1);
      task->sample(3, rng);
      const RandomState state = rng.state();
      const Batch next = task->sample(4, rng);
      Rng resumed(state), other(8, 1);
      const Batch again = kind.make(usual(kind))->sample(4, resumed);
      BOOST_TEST(same(next.tokens, again.tokens));
      BOOST_TEST(same(next.targets, again.targets));
      BOOST_TEST((rng.state() == resumed.state()));
      BOOST_TEST(!same(next.tokens, task->sample(4, other).tokens));
      // Two batches are one batch of both, so the batch size does not choose the examples.
      Rng joint(7, 1);
      const Batch both = task->sample(7, joint);
      BOOST_TEST(std::ranges::equal(
          next.tokens.values<Index>(),
          both.tokens.values<Index>().last(static_cast<std::size_t>(next.tokens.elements()))));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_batch_holds_tokens_and_targets_of_the_vocabulary) {
  for (const TaskKind& kind : task_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      const auto task = kind.make(usual(kind));
      const auto known = [&](Index token) { return token >= 0 && token < task->vocabulary(); };
      for (const TaskExample& example : task_examples(*task, 100)) {
        BOOST_TEST(std::ranges::all_of(example.tokens, known));
        BOOST_TEST(std::ranges::any_of(example.targets, known));
        BOOST_TEST(std::ranges::all_of(
            example.targets, [&](Index id) { return known(id) || id == kIgnoredTarget; }));
      }
      Rng rng(1);
      const Batch empty = task->sample(0, rng);
      BOOST_TEST(empty.tokens.shape() == Shape({0, task->length()}));
      BOOST_TEST(empty.targets.shape() == Shape({0, task->length()}));
      BOOST_CHECK_EXCEPTION(task->sample(-1, rng), Error,
                            says(concatenate(kind.name,
                                             ": a batch of -1 examples is not allowed; "
                                             "0 or more")));
    }
  }
}

// A model without memory is a table from the place and the token there to an answer. The best such
// table for one set of examples does not do better than chance on another. Data from outside are
// different.
BOOST_AUTO_TEST_CASE(without_memory_there_is_only_chance) {
  for (const TaskKind& kind : task_kinds()) {
    if (!kind.required.empty()) continue;
    BOOST_TEST_CONTEXT(kind.name) {
      const auto task = kind.make({});
      std::map<std::array<Index, 2>, std::map<Index, int>> seen;
      for (const TaskExample& example : task_examples(*task, 2000, 1))
        for (std::size_t t = 0; t < example.targets.size(); ++t)
          if (example.targets[t] != kIgnoredTarget)
            ++seen[{static_cast<Index>(t), example.tokens[t]}][example.targets[t]];
      std::map<std::array<Index, 2>, Index> answers;
      for (const auto& [input, counts] : seen)
        answers[input] = std::ranges::max_element(counts, {}, [](const auto& entry) {
                           return entry.second;
                         })->first;
      const double accuracy = guessed_accuracy(
          task_examples(*task, 2000, 2), [&](const TaskExample& example, std::size_t t) {
            return answers[{static_cast<Index>(t), example.tokens[t]}];
          });
      // Five standard deviations, if the targets of an example were all alike.
      const double chance = task->chance();
      BOOST_TEST(accuracy < chance + 5 * std::sqrt(chance * (1 - chance) / 2000));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_most_frequent_share_is_refused_what_it_cannot_count) {
  BOOST_TEST(most_frequent_share(1, 7) == 1);
  // Three draws out of three: all alike 1/9, two alike 2/3, all different 2/9.
  BOOST_TEST(most_frequent_share(3, 3) == (3 / 9.0 + 2 * 2 / 3.0 + 2 / 9.0) / 3,
             boost::test_tools::tolerance(1e-12));
  BOOST_CHECK_THROW(most_frequent_share(0, 3), Error);
  BOOST_CHECK_THROW(most_frequent_share(4, 3), Error);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
