// The experiments that there are: each asks for nothing that is not allowed, and runs.
#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "tests/program.hpp"
#include "tools/experiments/driver.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// The first and the last model of an experiment, and those that do not stream.
std::string few_models(const ExperimentPlan& plan) {
  const std::vector<ExperimentCell> cells = plan.cells();
  if (cells.empty()) {
    const std::string model = plan.measurements().back().model;
    return model.empty() ? "" : " --models " + model;
  }
  std::string names = cells.front().model->name + "," + cells.back().model->name;
  for (const NamedWords& model : cells.front().group->models)
    if (model.words.find("--symbolic") != std::string::npos) names += "," + model.name;
  return " --models " + names;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(experiment_list)

BOOST_AUTO_TEST_CASE(all_ask_for_what_there_is) {
  for (const Experiment& one : experiments()) {
    for (const bool quick : {false, true}) {
      const ExperimentPlan plan(one, {.quick = quick, .program = "vla"});
      BOOST_TEST((plan.cells().size() + plan.measurements().size()) > 0);
      std::string last_group;
      for (const ExperimentCell& cell : plan.cells()) {
        BOOST_TEST_CONTEXT(one.name << " " << cell.group->name << " " << cell.model->name) {
          const TrainOptions options = settings_of_words(plan.search(cell)[0].words);
          make_task(options);
          Rng rng(1);
          mixer_factory(options.model, options.mixer)(rng);
          if (cell.group->name == last_group) continue;
          last_group = cell.group->name;
          for (const NamedWords& evaluation : cell.group->evaluations) {
            BOOST_TEST(!options.positions);
            std::string words = evaluation.words;  // without what is not of the task
            words = words.substr(0, words.find(" --examples"));
            make_task(settings_of_words(split_words(cell.group->words + " " + words)));
          }
        }
      }
    }
  }
}

// A few steps of the quick form of each.
#ifndef __SANITIZE_ADDRESS__  // which makes minutes of it
BOOST_AUTO_TEST_CASE(all_run) {
  const Place place;
  for (const Experiment& one : experiments()) {
    BOOST_TEST_CONTEXT(one.name) {
      const ExperimentPlan plan(one, {.quick = true, .program = "vla"});
      const bool trains =
          !plan.cells().empty() ||
          std::ranges::any_of(plan.measurements(), [](const auto& one) { return one.trains; });
      const Outcome outcome = place.run("experiment " + one.name + few_models(plan) +
                                        " --quick --out out" + (trains ? " --steps 2" : ""));
      BOOST_TEST(outcome.errors == "");
      BOOST_TEST(outcome.code == 0, outcome.out);
      BOOST_TEST((outcome.out.find("failed") == std::string::npos), outcome.out);
      BOOST_TEST((outcome.out.find("not run") == std::string::npos), outcome.out);
      const std::string folder = "out/" + one.name + "-quick/";
      for (const char* file : {"table.md", "table.csv", "results.json"})
        BOOST_TEST(place.has(folder + file));
    }
  }
  const std::string list = place.run("experiment").out;
  for (const Experiment& one : experiments())
    BOOST_TEST(
        (list.find("\n" + one.name + " ") != std::string::npos || list.starts_with(one.name)));
}
#endif

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
