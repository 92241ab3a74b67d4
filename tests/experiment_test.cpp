// An experiment: what it chooses, what it does not do twice, and what it says of failures.
#include <sys/file.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/compare.hpp"
#include "tests/program.hpp"
#include "tools/experiments/driver.hpp"
#include "tools/experiments/table.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

const std::string kTiny =
    "--task mqar --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 1 --hidden 16 --batch 4 "
    "--steps 6 --report-every 2 --checkpoint-every 2 --clip 0 ";

// A rate of 1e30 diverges.
Experiment tiny(std::vector<double> rates, const std::string& evaluation = "--pairs 2") {
  return {"tiny", "a test", [=](bool) {
            return std::vector<ExperimentGroup>{{"pairs-2",
                                                 kTiny,
                                                 {{"linear", "--model linear"}},
                                                 rates,
                                                 2,
                                                 {{"more", evaluation + " --examples 50"}}}};
          }};
}

ExperimentOptions options_in(const Place& place) {
  return {.jobs = 2, .out = (place / "out").string(), .program = VLA_PROGRAM};
}

struct Said {
  bool to_its_end;
  std::string text;
  bool has(const std::string& part) const { return text.find(part) != std::string::npos; }
};

Said run(const ExperimentPlan& plan) {
  std::ostringstream out;
  const bool to_its_end = run_experiment(plan, out);
  return {to_its_end, out.str()};
}

// What every file of the runs was last changed at, but for the tables, which are always written.
std::map<std::string, fs::file_time_type> times_of_runs(const ExperimentPlan& plan) {
  std::map<std::string, fs::file_time_type> times;
  for (const auto& entry : fs::recursive_directory_iterator(plan.directory() / "pairs-2"))
    if (entry.is_regular_file()) times[entry.path().string()] = entry.last_write_time();
  return times;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(experiment)

BOOST_AUTO_TEST_CASE(the_best_rate_is_chosen) {
  const RunOutcome failed{.failure = "loss is nan"};
  const RunOutcome poor{.accuracy = 0.5, .loss = 1, .steps = 100};
  const RunOutcome good{.accuracy = 0.9, .loss = 0.9, .steps = 100};
  const RunOutcome good_of_less_loss{.accuracy = 0.9, .loss = 0.1, .steps = 100};
  const RunOutcome early{.accuracy = 0.989, .steps = 40, .reached = true};
  const RunOutcome late{.accuracy = 0.999, .steps = 80, .reached = true};
  BOOST_TEST(*best_of({poor, good, failed}) == 1);
  BOOST_TEST(*best_of({good, good_of_less_loss, good}) == 1);
  BOOST_TEST(*best_of({good, good}) == 0);
  BOOST_TEST(*best_of({late, early, good}) == 1);
  BOOST_TEST(*best_of({failed, poor}) == 1);
  BOOST_TEST(!best_of({failed, failed}).has_value());
  BOOST_TEST(!best_of({}).has_value());
}

BOOST_AUTO_TEST_CASE(what_is_there_is_not_done_again) {
  const Place place;
  const ExperimentPlan plan(tiny({1e-3, 1e-2}), options_in(place));
  const Said first = run(plan);
  BOOST_TEST(first.to_its_end);
  for (const char* part : {"[1/5] pairs-2 linear rate 0.0", "rate 0.01 seed 1: accuracy ",
                           "seed 2: accuracy", "[5/5] ", ", at more: accuracy "})
    BOOST_TEST(first.has(part), part << " is not in " << first.text);
  BOOST_TEST(std::ranges::count(first.text, '\n') == 2 + 1 + 2 + 3);  // runs, evaluations, table
  const auto times = times_of_runs(plan);

  const Said again = run(plan);
  BOOST_TEST(again.to_its_end);
  BOOST_TEST(std::ranges::count(again.text, '\n') == 3);  // the table
  BOOST_TEST(first.text.ends_with(again.text));
  BOOST_TEST((times_of_runs(plan) == times));
  BOOST_TEST(remaining_commands(plan).empty());

  // One of them is lost, and only that is made anew.
  const ExperimentRun lost = plan.search(plan.cells()[0])[0];
  fs::remove_all(lost.directory);
  BOOST_TEST(run(plan).has("rate 0.001 seed 1: accuracy"));
  for (const auto& [path, time] : times_of_runs(plan))
    BOOST_TEST((path.starts_with(lost.directory.string()) || times.at(path) == time), path);
}

BOOST_AUTO_TEST_CASE(the_table_keeps_what_was_asked_for_before) {
  const Place place;
  ExperimentOptions options = options_in(place);
  options.quick = true;
  options.steps = 3;
  options.settings = "prefix-10";
  options.models = "linear";
  const Experiment copy = find_experiment("copy");
  BOOST_TEST(run(ExperimentPlan(copy, options)).to_its_end);
  options.models = "deltanet";
  const ExperimentPlan second(copy, options);
  BOOST_TEST(second.cells().size() == 1);
  BOOST_TEST(run(second).to_its_end);
  const std::string table = read(second.directory() / "table.csv");
  BOOST_TEST((table.find("prefix-10,linear,") != std::string::npos), table);
  BOOST_TEST((table.find("prefix-10,deltanet,") != std::string::npos), table);
  BOOST_TEST(std::ranges::count(table, '\n') == 3);
}

BOOST_AUTO_TEST_CASE(a_run_that_was_cut_off_goes_on) {
  const Place place;
  ExperimentOptions options = options_in(place);
  const ExperimentPlan whole(tiny({1e-3}), options);
  BOOST_TEST(run(whole).to_its_end);
  options.out += "2";
  const ExperimentPlan cut(tiny({1e-3}), options);
  const ExperimentRun begun = cut.search(cut.cells()[0])[0];
  Words command = cut.train_command(begun);
  command.insert(command.end(), {"--stop-at", "4"});
  command.erase(command.begin());
  BOOST_TEST(place.run(command_text(command)).errors == "");
  BOOST_TEST(run(cut).to_its_end);
  BOOST_TEST((read(begun.directory / "log.txt").find(", from step 4") != std::string::npos));
  BOOST_TEST((read(begun.directory / "checkpoint.safetensors") ==
              read(whole.search(whole.cells()[0])[0].directory / "checkpoint.safetensors")));
  // Files of a run that was ended before it had settings.
  fs::remove_all(begun.directory);
  fs::create_directories(begun.directory);
  std::ofstream(begun.directory / "log.txt") << "begun";
  BOOST_TEST(run(cut).to_its_end);
}

BOOST_AUTO_TEST_CASE(a_run_that_diverges_is_a_row) {
  const Place place;
  const ExperimentPlan plan(tiny({1e30, 1e-3}), options_in(place));
  const Said said = run(plan);
  BOOST_TEST(said.to_its_end);  // trying again would not help
  BOOST_TEST(said.has("rate 1e+30 seed 1: failed: loss is "));
  BOOST_TEST(said.has("rate-1e+30-seed-1: loss is "));
  const auto rows = result_rows(plan, all_results(plan, {}), {});
  BOOST_REQUIRE_EQUAL(rows.size(), 2);
  BOOST_TEST(rows[0].rate == "0.001");
  BOOST_TEST(rows[0].accuracies.size() == 2);
  const auto times = times_of_runs(plan);
  BOOST_TEST(run(plan).to_its_end);
  BOOST_TEST((times_of_runs(plan) == times));

  ExperimentOptions options = options_in(place);
  options.out += "2";
  const ExperimentPlan hopeless(tiny({1e30}), options);
  BOOST_TEST(run(hopeless).to_its_end);
  BOOST_TEST(result_table(result_rows(hopeless, all_results(hopeless, {}), {}))[1][8] == "failed");
}

BOOST_AUTO_TEST_CASE(what_failed_otherwise_is_tried_again) {
  const Place place;
  const ExperimentPlan plan(tiny({1e-3}, "--pairs 30"), options_in(place));
  for (int i = 0; i < 2; ++i) {
    const Said said = run(plan);
    BOOST_TEST(!said.to_its_end);
    BOOST_TEST(said.has("seed 2, at more: failed: mqar: "));
    BOOST_TEST(said.has("2 failed"));
  }
}

BOOST_AUTO_TEST_CASE(what_a_child_said_last_is_the_failure) {
  const Place place;
  std::ofstream(place / "log") << "said\nalso\n";
  BOOST_TEST(failure_of({"", 3, 0}, place / "log").starts_with("exit code 3, see "));
  std::ofstream(place / "log", std::ios::app) << "vla: no such thing\n";
  BOOST_TEST(failure_of({"", 2, 0}, place / "log") == "no such thing");
  BOOST_TEST(failure_of({"", 0, 9}, place / "log") == "ended by signal 9 (Killed)");
}

BOOST_AUTO_TEST_CASE(only_what_diverged_is_written_down) {
  const Place place;
  fs::create_directory(place / "run");
  for (const char* name : {"run", "eval.json"}) {
    keep_failure(place / name, {"", 2, 0}, "no memory left");
    keep_failure(place / name, {"", 0, 9}, "ended by signal 9");
    BOOST_TEST(!kept_failure(place / name).has_value());
    keep_failure(place / name, {"", 3, 0},
                 "held-out loss is nan: training diverged; try a lower --rate");
    BOOST_TEST(kept_failure(place / name).value().starts_with("held-out loss is nan"));
  }
  BOOST_TEST(place.has("run/failure.txt"));
  BOOST_TEST(place.has("eval.json.failure.txt"));
}

BOOST_AUTO_TEST_CASE(results_are_written) {
  const Place place;
  const ExperimentPlan plan(tiny({1e-3}), options_in(place));
  run(plan);
  const auto json = nlohmann::json::parse(read(plan.directory() / "results.json"));
  const auto& row = json.at("rows").at(0);
  BOOST_TEST(row.at("best_rate") == 1e-3);
  BOOST_REQUIRE_EQUAL(row.at("seeds").size(), 2);
  const auto& seed = row.at("seeds").at(1);
  BOOST_TEST(seed.at("evaluations").at("more").at("accuracy").is_number());
  // Memory (8 x 8) and sum of keys (8) of two heads, and three tokens before the next of q, k, v.
  BOOST_TEST(seed.at("state_bytes") == 4 * (2 * (8 * 8 + 8) + 3 * 3 * 16));
  const std::string table = read(plan.directory() / "table.md");
  for (const char* part : {"# tiny\n\na test\n", "`vla experiment tiny`", "| state bytes |",
                           "| pairs-2 | linear |", "| pairs-2, at more | linear |", "|---|"})
    BOOST_TEST((table.find(part) != std::string::npos), part << " is not in " << table);
  BOOST_TEST(read(plan.directory() / "table.csv").starts_with("setting,model,parameters,"));
}

BOOST_AUTO_TEST_CASE(tables_in_writing) {
  const Table table = {{"name", "value"}, {"a, b", "1.5"}, {"c", "-"}};
  BOOST_TEST(aligned(table) == "name  value\na, b    1.5\nc         -\n");
  BOOST_TEST(markdown(table) == "| name | value |\n|---|---|\n| a, b | 1.5 |\n| c | - |\n");
  BOOST_TEST(csv_text(table) == "name,value\n\"a, b\",1.5\nc,-\n");
  ResultRow row{.setting = "s",
                .model = "m",
                .rate = "0.001",
                .accuracies = {0.5, 0.75, 1},
                .seeds = 4,
                .failed = 1,
                .chance = 0.1,
                .steps = 20,
                .seconds = 3.4,
                .parameters = 7,
                .state_bytes = 64};
  const Table::value_type words = {
      "s",  "m", "7",     "64", "0.001", "0.7500", "0.5000", "1.0000", "3 of 4, 1 failed",
      "20", "3", "0.1000"};
  BOOST_TEST((result_table({row})[1] == words));
  BOOST_TEST(result_table({{.setting = "s", .model = "m", .rate = "", .seeds = 3}})[1][8] ==
             "not run");
}

BOOST_AUTO_TEST_CASE(other_settings_in_the_same_place_are_refused) {
  const Place place;
  ExperimentOptions options = options_in(place);
  run(ExperimentPlan(tiny({1e-3}), options));
  options.steps = 9;
  BOOST_CHECK_EXCEPTION(run(ExperimentPlan(tiny({1e-3}), options)), Error, [&](const Error& error) {
    return std::string(error.what())
        .ends_with(
            "out/tiny/pairs-2/linear/rate-0.001-seed-1 was made with steps '6', the experiment "
            "asks "
            "for '9'; remove it, or give another --out");
  });
}

BOOST_AUTO_TEST_CASE(a_dry_run_prints_commands_and_does_nothing) {
  const Place place;
  const Outcome outcome =
      place.run("experiment mqar-length --quick --models vla --dry-run --jobs 1 --out 'an out'");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(std::ranges::count(outcome.out, '\n') == 4);
  for (const char* part :
       {" train --task mqar --length 64 ", " --model vla --rate 0.008 --seed 1 --out 'an out/mqar-",
        " --force --device cpu --threads ",
        " eval 'an out/mqar-length-quick/from-T-32/vla/rate-BEST"})
    BOOST_TEST((outcome.out.find(part) != std::string::npos), part << "not in " << outcome.out);
  BOOST_TEST(!place.has("an out"));
}

BOOST_AUTO_TEST_CASE(a_dry_run_for_a_device_needs_none) {
  const Place place;
  const Outcome outcome = place.run("experiment copy --quick --dry-run --device cuda:3");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST((outcome.out.find(" --device cuda:3 --threads ") != std::string::npos), outcome.out);
  check_refused(place, "experiment copy --dry-run --device cuda:x", {"unknown device 'cuda:x'"});
}

BOOST_AUTO_TEST_CASE(bad_words_are_refused) {
  const Place place;
  const auto refused = [&](const std::string& words, std::vector<std::string> parts) {
    check_refused(place, "experiment " + words, std::move(parts));
    BOOST_TEST(!place.has("runs"));
  };
  refused("sorting", {"unknown experiment 'sorting'; allowed: mqar-capacity, mqar-length, copy"});
  refused("copy --models vla,gpt", {"--models 'gpt' is not known here; allowed: vla, vla-v3, "});
  refused("copy --settings T-9", {"--settings 'T-9' is not known here; allowed: prefix-20, "});
  refused("copy --jobs -1", {"--jobs -1 is not allowed; 1 to 256, or 0 for the usual"});
  refused("copy --jobs many", {"--jobs 'many' is not a whole number"});
  refused("copy --steps -1", {"--steps -1 is not allowed; 1 or more, or 0"});
  refused("copy --device tpu", {"unknown device 'tpu'; allowed: cpu, cuda, cuda:N, auto"});
  refused("copy --out ''", {"--out is empty; it needs a directory"});
  refused("copy --quik", {"unknown option '--quik'", "--quick"});
  refused("copy --precision bf16", {"--precision bf16 is for CUDA devices, --device is cpu"});
  refused("scaling --steps 5", {"--steps is not for experiment scaling, which trains nothing"});
  refused("scaling --models vla", {"--models is not for experiment scaling"});
  refused("scaling --jobs 2", {"--jobs 2 is not for experiment scaling, which measures times: 1"});
  std::ofstream(place / "file") << "text";
  refused("copy --quick --out file", {"cannot make the directory file/copy-quick"});
  BOOST_CHECK_EXCEPTION(settings_of_words({"--task", "copy", "--pairs", "3"}), Error,
                        says("--pairs 3 is not for task copy, whose settings are --vocabulary, "
                             "--length, --prefix, --shortest-prefix, --show-answers"));
}

BOOST_AUTO_TEST_CASE(two_do_not_work_in_one_place) {
  const Place place;
  const ExperimentPlan plan(tiny({1e-3}), options_in(place));
  fs::create_directories(plan.directory());
  const int lock = ::open((plan.directory() / "lock").c_str(), O_RDWR | O_CREAT, 0666);
  BOOST_REQUIRE_EQUAL(::flock(lock, LOCK_EX | LOCK_NB), 0);
  BOOST_CHECK_EXCEPTION(run(plan), Error,
                        says("another vla experiment is at work in " + plan.directory().string()));
  ::close(lock);
  BOOST_TEST(run(plan).to_its_end);
}

// As Ctrl-C does: the signal goes to the program and to those that it has started.
BOOST_AUTO_TEST_CASE(an_interrupted_experiment_leaves_nothing_running) {
  const Place place;
  const std::string words =
      quoted(VLA_PROGRAM) +
      " experiment copy --quick --settings prefix-10 --models linear --steps ";
  const Outcome outcome = Place::run_in(
      place.path(), "timeout", "--preserve-status -s INT 1 " + words + "1000000 --out out");
  BOOST_TEST(outcome.code == 130);
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(
      (outcome.out.find("interrupted; the same command goes on from here") != std::string::npos),
      outcome.out);
  BOOST_TEST(place.has("out/copy-quick/prefix-10/linear/rate-0.008-seed-1/config.json"));
  const std::string log = "out/copy-quick/prefix-10/linear/rate-0.008-seed-1/log.txt";
  const std::string before = read(place / log);
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  BOOST_TEST(read(place / log) == before);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
