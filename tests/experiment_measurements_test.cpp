// Experiments that measure: each measurement is a command with a file, made once.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/program.hpp"
#include "tools/experiments/driver.hpp"
#include "tools/experiments/regression.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

const std::string kRegression =
    "regression --dimensions 2 --points 3 --width 8 --heads 2 --layers 1 --hidden 8 --batch 4 "
    "--examples 8 ";

// Two models, the second of which diverges at a rate of 1e30, and a table of what is there.
Experiment tiny(const std::string& second) {
  return {.name = "tiny",
          .description = "a test",
          .measurements =
              [=](bool) {
                return std::vector<Measurement>{
                    {.setting = "few",
                     .model = "linear",
                     .words = kRegression + "--model linear --out",
                     .trains = true},
                    {.setting = "few",
                     .model = "vla",
                     .variant = "one",
                     .words = kRegression + "--model vla " + second + " --out",
                     .trains = true}};
              },
          .table =
              [](const std::vector<MeasuredFile>& files) {
                Table table = {{"model", "lines"}};
                for (const auto& [one, file, failed] : files)
                  table.push_back({one.model, fs::exists(file) ? read(file).substr(0, 5) : "-"});
                return table;
              }};
}

std::string run(const ExperimentPlan& plan, bool expected) {
  std::ostringstream out;
  BOOST_TEST(run_experiment(plan, out) == expected, out.str());
  return out.str();
}

ExperimentOptions options_in(const Place& place) {
  return {.jobs = 2, .steps = 2, .out = (place / "out").string(), .program = VLA_PROGRAM};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(experiment_measurements)

BOOST_AUTO_TEST_CASE(each_is_made_once) {
  const Place place;
  const ExperimentPlan plan(tiny(""), options_in(place));
  BOOST_TEST(remaining_commands(plan).size() == 2);
  run(plan, true);
  BOOST_TEST(place.has("out/tiny/few/linear.csv"));
  BOOST_TEST(place.has("out/tiny/few/vla/one.csv"));
  BOOST_TEST(read(place / "out/tiny/table.csv") == "model,lines\nlinear,place\nvla,place\n");
  BOOST_TEST((read(place / "out/tiny/results.json").find("\"file\": \"few/vla/one.csv\"") !=
              std::string::npos));
  BOOST_TEST(remaining_commands(plan).empty());
  fs::remove(place / "out/tiny/few/linear.csv");
  BOOST_TEST(remaining_commands(plan).size() == 1);

  ExperimentOptions options = options_in(place);
  options.models = "vla";
  BOOST_TEST(remaining_commands(ExperimentPlan(tiny(""), options)).empty());
}

BOOST_AUTO_TEST_CASE(one_that_diverges_is_not_repeated_and_another_is) {
  const Place place;
  const ExperimentPlan diverges(tiny("--model linear --rate 1e30 --clip 0"), options_in(place));
  const std::string said = run(diverges, true);
  BOOST_TEST((said.find("few/vla/one.csv: loss is ") != std::string::npos), said);
  BOOST_TEST(remaining_commands(diverges).empty());
  BOOST_TEST(read(place / "out/tiny/table.csv") == "model,lines\nlinear,place\nvla,-\n");

  ExperimentOptions options = options_in(place);
  options.out += "2";
  const ExperimentPlan refused(tiny("--heads 3"), options);
  run(refused, false);
  BOOST_TEST(remaining_commands(refused).size() == 1);
}

// The rate is that of the least error with the first seed, whatever others have reached.
BOOST_AUTO_TEST_CASE(a_rate_of_regression_is_chosen_by_the_first_seed) {
  const Place place;
  std::vector<MeasuredFile> files;
  const auto add = [&](const std::string& rate, int seed, double error, bool failed = false) {
    const Measurement one{.setting = "noisy",
                          .model = "vla",
                          .variant = concatenate("rate-", rate, "-seed-", seed),
                          .words = ""};
    files.push_back({one, place / (one.variant + ".csv"), failed});
    if (error > 0)
      std::ofstream(files.back().file)
          << "place,model,ridge,kalman\n1," << error << ",1,1\n2," << error << ",1,1\n";
  };
  const auto only = [&] {
    const std::vector<RegressionCell> cells = regression_cells(files);
    BOOST_REQUIRE_EQUAL(cells.size(), 1);
    return cells.front();
  };
  add("0.1", 1, 0, true);  // diverged
  add("0.1", 2, 0.1);
  BOOST_TEST(only().rate == "");
  BOOST_TEST(seeds_text(only().seeds.size(), only().wanted, only().failed) == "0 of 2, 1 failed");
  add("0.2", 1, 0.5);
  add("0.2", 2, 0.9);
  add("0.3", 1, 0.6);
  add("0.3", 2, 0, true);
  BOOST_TEST(only().rate == "0.2");
  BOOST_TEST(only().seeds.size() == 2);
  fs::remove(files[2].file);
  BOOST_TEST(only().rate == "0.3");
  BOOST_TEST(seeds_text(only().seeds.size(), only().wanted, only().failed) == "1 of 2, 1 failed");
  BOOST_TEST(seeds_text(0, 3, 0) == "not run");
  BOOST_TEST(seeds_text(0, 3, 3) == "0 of 3, 3 failed");
  BOOST_TEST(seeds_text(3, 3, 0) == "3");
}

// A file of results that is no result is told, and no table is written over what was there.
BOOST_AUTO_TEST_CASE(the_table_of_regression_refuses_other_files) {
  const Place place;
  ExperimentOptions options = options_in(place);
  options.quick = true;
  options.settings = "noisy";
  options.models = "linear";
  const ExperimentPlan plan(find_experiment("regression"), options);
  BOOST_TEST(plan.measured_table().at(1).back() == "not run");
  run(plan, true);
  BOOST_TEST(plan.measured_table().at(1).back() == "1");
  const fs::path file = plan.measurement_file(plan.measurements().front());
  std::ofstream(file) << "place,model,ridge,kalman\n1,2,x,3\n";
  BOOST_CHECK_EXCEPTION(plan.measured_table(), Error, [](const Error& error) {
    return std::string(error.what()).find("'x' is not a number") != std::string::npos;
  });
  std::ofstream(file) << "";
  BOOST_CHECK_THROW(plan.measured_table(), Error);
}

// The mean and the spread of the seeds, a row for a model in a setting.
BOOST_AUTO_TEST_CASE(the_table_of_stability_sums_up_seeds) {
  const Place place;
  ExperimentOptions options = options_in(place);
  options.steps = 0;
  options.settings = "random-T-1000,streamed-repeated-T-1000000";
  options.models = "deltanet";
  const ExperimentPlan plan(find_experiment("stability"), options);
  const std::vector<Measurement> seeds = plan.measurements();
  BOOST_REQUIRE(seeds.size() == 6);
  const auto write = [&](std::size_t i, const std::string& text) {
    const fs::path file = plan.measurement_file(seeds[i]);
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  };
  const auto states = [](const char* norm) {
    return R"({"min": {}, "max": {"memory_norm": 9}, "last": {"memory_norm": )" +
           std::string(norm) + "}}";
  };
  write(0, states("2"));
  write(1, states("4.5"));
  write(3, R"({"largest": {"error": 0.25}})");
  const Table table = plan.measured_table();
  BOOST_REQUIRE(table.size() == 3);
  const std::vector<std::string> state = {
      "random-T-1000", "deltanet", "3.25 (2-4.5)", "9 (9-9)", "-", "-", "-", "-", "-", "-",
      "2 of 3"};
  const std::vector<std::string> streamed = {"streamed-repeated-T-1000000",
                                             "deltanet",
                                             "-",
                                             "-",
                                             "-",
                                             "-",
                                             "-",
                                             "-",
                                             "-",
                                             "0.25",
                                             "1 of 3"};
  BOOST_TEST(table[1] == state, boost::test_tools::per_element());
  BOOST_TEST(table[2] == streamed, boost::test_tools::per_element());
  write(2, states("null"));  // not finite
  BOOST_TEST(plan.measured_table()[1][2] == "not finite");
  write(2, "[]");
  BOOST_CHECK_EXCEPTION(plan.measured_table(), Error, [](const Error& error) {
    return std::string(error.what()).ends_with("seed-3.json: no result of vla stability");
  });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
