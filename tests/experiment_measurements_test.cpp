// Experiments that measure: each measurement is a command with a file, made once.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <sstream>

#include "tests/program.hpp"
#include "tools/experiments/driver.hpp"

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
                for (const auto& [one, file] : files)
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
    return std::string(error.what()).find("'x' is no number") != std::string::npos;
  });
  std::ofstream(file) << "";
  BOOST_CHECK_THROW(plan.measured_table(), Error);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
