// What the folder of a run holds: the checkpoints that are kept and named, and metrics.jsonl, also
// one that nobody but a stranger wrote.
#include "tools/run.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "tests/error_of.hpp"
#include "tests/fault_injection.hpp"
#include "tests/loader_files.hpp"
#include "tests/program.hpp"
#include "tools/session.hpp"

namespace vla {
namespace {

std::string line_with_step(const std::string& step) {
  return R"({"split":"train","step":)" + step +
         R"(,"loss":0.5,"accuracy":1,"tokens_per_second":7,"note":"x","bits":2})" + "\n";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(run)

BOOST_AUTO_TEST_CASE(lines_of_metrics_are_read_or_refused_with_their_number) {
  const TemporaryDirectory folder;
  const RunDirectory run(folder.path());
  BOOST_TEST(run.metrics().empty());
  const auto refused = [&](const std::string& text) {
    make_file(run.metrics_path(), text);
    const std::string message = error_of([&] { run.metrics(); });
    const std::string file = run.metrics_path().string();
    return message.starts_with(file) ? message.substr(file.size()) : "elsewhere: " + message;
  };
  const std::string good = line_with_step("4");
  BOOST_TEST(refused(good + good.substr(0, 9)) == "elsewhere: accepted");  // the last, cut off
  BOOST_REQUIRE_EQUAL(run.metrics().size(), 1);
  BOOST_TEST(run.metrics()[0].step == 4);
  BOOST_TEST((run.metrics()[0].more == std::map<std::string, double>{{"bits", 2}}));
  for (const std::string& line :
       {std::string("\n"), std::string("[]\n"), std::string("x\n"),
        std::string("{\"split\":1e999}\n"), std::string(300'000, '[') + "\n"})
    BOOST_TEST(refused(good + line) == ", line 2: not a JSON object");
  BOOST_TEST(refused("{\"split\":1}\n") == ", line 1: no text 'split'");
  for (const char* step : {"1e18", "-1e300", "1.7e308", "18446744073709551615"})
    BOOST_TEST(refused(line_with_step(step)) == ", line 1: no number 'step' below 10^18", step);
  for (const char* step : {"null", "\"4\"", "[4]"})
    BOOST_TEST(refused(line_with_step(step)) == ", line 1: no number 'step'", step);
  BOOST_TEST(refused(R"({"split":"train","step":1})"
                     "\n") == ", line 1: no number 'loss'");
}

// Each sync that a run asks for fails once, and its error names the file.
BOOST_AUTO_TEST_CASE(metrics_are_on_disk_before_the_checkpoint_that_follows_them) {
  TrainOptions options;
  set_settings(options, {{"pairs", "2"},
                         {"width", "16"},
                         {"heads", "2"},
                         {"layers", "1"},
                         {"hidden", "16"},
                         {"batch", "2"},
                         {"steps", "2"},
                         {"warm-up", "1"},
                         {"threads", "1"}});
  std::vector<std::string> files;
  for (int call = 1;; ++call) {
    const TemporaryDirectory folder;
    std::ostringstream out;
    Progress progress(out, false);
    const FaultAt at(Fault::sync, call, EIO);
    const std::string said =
        error_of([&] { train(options, {.directory = folder / "run"}, progress); });
    if (!at.happened()) break;
    for (const char* name : {"config.json", "metrics.jsonl", "checkpoint.safetensors"})
      if (said.find(name) != std::string::npos) files.push_back(name);
  }
  // Files that are replaced are synced, and then their folder; last comes the final evaluation.
  const std::vector<std::string> expected{"config.json",
                                          "config.json",
                                          "metrics.jsonl",
                                          "checkpoint.safetensors",
                                          "checkpoint.safetensors",
                                          "metrics.jsonl"};
  BOOST_TEST(files == expected, boost::test_tools::per_element());
}

// The one that was asked for is damaged, and another is there.
BOOST_AUTO_TEST_CASE(a_run_keeps_earlier_checkpoints_and_its_best) {
  const Place place;
  const std::string words = kSmall + "--checkpoint-every 2 --keep 3 --keep-best --out run";
  BOOST_REQUIRE_EQUAL(place.run(words).errors, "");
  for (const char* name : {"checkpoint", "checkpoint-4", "checkpoint-6", "checkpoint-8", "best"})
    BOOST_TEST(place.has(concatenate("run/", name, ".safetensors")), name);
  BOOST_TEST(!place.has("run/checkpoint-2.safetensors"));
  const std::string last = read(place / "run/checkpoint.safetensors");
  BOOST_TEST((read(place / "run/checkpoint-8.safetensors") == last));
  for (const char* name : {"checkpoint-4", "best"})
    BOOST_TEST(place.run(concatenate("eval run/", name, ".safetensors --examples 20")).code == 0);

  std::string damaged = last;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  std::filesystem::remove(place / "run/checkpoint.safetensors");  // it shares its file
  make_file(place / "run/checkpoint.safetensors", damaged);
  std::ofstream(place / "run/metrics.jsonl");  // not finished
  std::filesystem::remove(place / "run/checkpoint-8.safetensors");
  check_refused(place, "train --resume run",
                {"is damaged", "another is good: vla train --resume run/checkpoint-6.safetensors"});
  make_file(place / "run/checkpoint.safetensors", last.substr(0, 100));
  make_file(place / "run/checkpoint-7.safetensors", damaged);
  make_file(place / "run/checkpoint-mine.safetensors", "not of the run");
  check_refused(place, "train --resume run",
                {"another is good: vla train --resume run/checkpoint-6.safetensors"});
  const Outcome again = place.run("train --resume run/checkpoint-6.safetensors");
  BOOST_TEST(again.errors == "");
  BOOST_TEST((read(place / "run/checkpoint.safetensors") == last));
  BOOST_TEST(place.has("run/checkpoint-mine.safetensors"));
  check_refused(place, "train --resume run/checkpoint-2.safetensors",
                {"run/checkpoint-2.safetensors", "No such file"});
}

// Between the report of a best accuracy and the name of its checkpoint a run may end; the one that
// goes on from there, here by name, gives it.
BOOST_AUTO_TEST_CASE(a_best_checkpoint_that_was_not_named_is_named_on_resuming) {
  const Place place;
  BOOST_REQUIRE_EQUAL(
      place.run(kSmall + "--checkpoint-every 2 --keep 4 --keep-best --out run").errors, "");
  const std::string best = read(place / "run/best.safetensors");
  std::string step;
  for (const char* name : {"2", "4", "6"})  // 8 is the last checkpoint too
    if (read(place / concatenate("run/checkpoint-", name, ".safetensors")) == best) step = name;
  BOOST_REQUIRE(!step.empty());
  std::filesystem::remove(place / "run/best.safetensors");
  BOOST_TEST(
      place.run(concatenate("train --resume run/checkpoint-", step, ".safetensors")).errors == "");
  BOOST_TEST((read(place / "run/best.safetensors") == best));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
