// vla train --config: settings from a file, changed by words of the command line.
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/program.hpp"
#include "tools/run.hpp"

namespace vla {
namespace {

nlohmann::json config_of(const Place& place, const std::string& run) {
  return nlohmann::json::parse(read(place / (run + "/config.json")));
}

// A run that ends after a step, from a file with this text.
Outcome train_from(const Place& place, const std::string& text, const std::string& words) {
  std::ofstream(place / "settings.json") << text;
  return place.run("train --config settings.json --stop-at 1 --out run " + words);
}

const std::string kFew = R"({"pairs": 2, "vocabulary": 16, "width": 16, "heads": 2, "layers": 1,
  "hidden": 16, "batch": 4, "threads": 1, "steps": 40})";

}  // namespace

BOOST_AUTO_TEST_SUITE(chosen_settings)

BOOST_AUTO_TEST_CASE(a_run_is_repeated_from_its_own_file) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--seed 3 --out first").errors, "");
  const Outcome again = place.run("train --config first/config.json --out again");
  BOOST_TEST(again.errors == "");
  BOOST_TEST((read(place / "again/config.json") == read(place / "first/config.json")));
  BOOST_TEST((read(place / "again/checkpoint.safetensors") ==
              read(place / "first/checkpoint.safetensors")));
}

BOOST_AUTO_TEST_CASE(the_command_line_changes_the_file) {
  const Place place;
  const Outcome outcome = train_from(place, kFew, "--pairs 3 --rate 0.5");
  BOOST_TEST(outcome.errors == "");
  const auto config = config_of(place, "run");
  BOOST_TEST(config.at("pairs") == 3);
  BOOST_TEST(config.at("rate") == 0.5);
  BOOST_TEST(config.at("vocabulary") == 16);
  BOOST_TEST(config.at("decay") == 0.01);  // neither has it
}

// A word that gives the default still changes what the file says.
BOOST_AUTO_TEST_CASE(a_word_that_is_the_default_counts) {
  const Place place;
  BOOST_TEST(train_from(place, kFew, "--layers 2 --heads 4").errors == "");
  BOOST_TEST(config_of(place, "run").at("layers") == 2);
  BOOST_TEST(config_of(place, "run").at("heads") == 4);
}

BOOST_AUTO_TEST_CASE(the_warm_up_stays_usual_or_as_it_was_given) {
  const auto warm_up = [&](const std::string& text, const std::string& words) {
    const Place place;
    BOOST_TEST(train_from(place, text, words).errors == "");
    return config_of(place, "run").at("warm-up").get<int>();
  };
  const std::string given = kFew.substr(0, kFew.size() - 1) + R"(, "warm-up": 7})";
  BOOST_TEST(warm_up(kFew, "") == 4);
  BOOST_TEST(warm_up(kFew, "--steps 200") == 20);
  BOOST_TEST(warm_up(kFew, "--warm-up 9 --steps 200") == 9);
  BOOST_TEST(warm_up(given, "--steps 200") == 7);
}

BOOST_AUTO_TEST_CASE(what_is_wrong_is_named_with_file_and_key) {
  const Place place;
  const auto refused = [&](const std::string& text, std::vector<std::string> parts,
                           const std::string& words = "") {
    std::ofstream(place / "c.json") << text;
    check_refused(place, "train --config c.json --out run " + words, parts);
    BOOST_TEST(!place.has("run"));
  };
  refused("{", {"c.json: not JSON: parse error at line 1"});
  refused("[]", {"c.json: not a JSON object"});
  refused(R"({"stepps": 4})", {"c.json: unknown setting 'stepps'"});
  refused(R"({"version": "9.9.9", "stepps": 4})", {"'stepps'; written by vla 9.9.9, this is "});
  refused(R"({"steps": "four"})", {R"(c.json: setting 'steps' is "four"; a whole number)"});
  refused(R"({"steps": 4.5})", {"c.json: setting 'steps' is 4.5; a whole number is needed"});
  refused(R"({"seed": -1})", {"c.json: setting 'seed' is -1; a whole number of 0 or more"});
  refused(R"({"rate": null})", {"c.json: setting 'rate' is null; a number is needed"});
  refused(R"({"forget": 1})", {"c.json: setting 'forget' is 1; true or false is needed"});
  refused(R"({"task": 3})", {"c.json: setting 'task' is 3; a text is needed"});
  refused(R"({"dtype": "half"})", {"c.json: setting 'dtype' 'half' is not allowed"});
  refused(R"({"layers": 0})", {"c.json: --layers 0 is not allowed; 1 to"});
  refused(R"({"task": "sorting"})", {"c.json: unknown task 'sorting'; allowed: mqar"});
  refused(R"({"model": "gpt"})", {"c.json: unknown model 'gpt'; allowed: vla"});
  refused(R"({"layers": 2})", {"vla: --layers 0 is not allowed"}, "--layers 0");
  check_refused(place, "train --config missing.json", {"cannot read missing.json"});
  check_refused(place, "train --config c.json --resume run", {"--config and --resume exclude"});
}

// As a version wrote it that had fewer settings.
BOOST_AUTO_TEST_CASE(a_run_of_an_earlier_version_goes_on) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run --stop-at 4").errors, "");
  auto config = config_of(place, "run");
  for (const char* name : {"learn-lambda0", "features", "error-clip", "precision", "graph"})
    BOOST_TEST(config.erase(name) == 1);
  config["version"] = "0.1.0";
  std::ofstream(place / "run/config.json") << config;
  BOOST_TEST(place.run("eval run --examples 10").errors == "");
  BOOST_TEST(place.run("train --resume run").errors == "");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
