// vla eval: a trained model on fresh examples, and what is no run.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/program.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(eval)

BOOST_AUTO_TEST_CASE(eval_reproduces_the_final_evaluation) {
  const Place place;
  for (const std::string model : {"vla", "deltanet", "linear", "softmax"}) {
    const Outcome trained = place.run(kSmall + "--rate 0.02 --model " + model + " --out " + model);
    const std::string last = trained.out.substr(trained.out.find("held-out accuracy"));
    const std::string figures = last.substr(0, last.find(" after"));
    const Outcome outcome = place.run("eval " + model);
    BOOST_TEST(outcome.errors == "");
    BOOST_TEST(outcome.out.starts_with(figures + " (2000 examples of 7 tokens, chance "));
  }
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--no-positions --out without").code, 0);
  const Outcome longer = place.run("eval without --pairs 4 --length 30 --examples 10");
  BOOST_TEST(longer.out.find("(10 examples of 30 tokens, chance 0.3") != std::string::npos);
  check_refused(place, "eval vla --length 30",
                {"examples of 30 tokens are too long: vla has learned "
                 "positions for 7",
                 "--no-positions"});
  check_refused(place, "eval vla --pairs 16", {"pairs 16 needs at least 16 keys"});
  BOOST_TEST(place.run("eval without --length 30 --examples 10 --json it.json").errors == "");
  const auto whole = nlohmann::json::parse(read(place / "it.json"));
  BOOST_TEST(place.run("eval without --length 30 --examples 10 --batch 3 --json it.json").code ==
             0);
  const auto by_three = nlohmann::json::parse(read(place / "it.json"));
  BOOST_TEST(by_three.at("accuracy") == whole.at("accuracy"));
  BOOST_TEST(by_three.at("length") == 30);
  BOOST_TEST(by_three.at("examples") == 10);
  check_refused(place, "eval vla --batch -1", {"--batch -1 is not allowed; 0 or more"});
  check_refused(place, "eval vla --json no/it.json", {"no/it.json"});
  check_refused(place, "eval vla --examples 0", {"--examples 0 is not allowed; 1 or more"});
  check_refused(place, "eval vla --vocabulary 20", {"unknown option '--vocabulary'"});
  check_refused(place, "eval nothing", {"nothing/config.json"});

  const Outcome table = place.run("report vla softmax");
  BOOST_TEST(std::ranges::count(table.out, '\n') == 3);
  for (const char* word : {"accuracy", "loss", "steps", "tokens/s", "chance", "softmax"})
    BOOST_TEST((table.out.find(word) != std::string::npos), "no " << word << " in " << table.out);
}

BOOST_AUTO_TEST_CASE(eval_refuses_what_is_not_a_run) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run --stop-at 2").code, 0);
  const std::string config = read(place / "run/config.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    text.replace(text.find(from), from.size(), to);
    std::ofstream(place / "run/config.json") << text;
  };
  with("\"pairs\": 2", "\"pairs\": \"two\"");
  check_refused(place, "eval run", {"run/config.json", "'pairs' is \"two\"; a whole number"});
  with("\"pairs\"", "\"peers\"");
  check_refused(place, "eval run", {"run/config.json", "unknown setting 'peers'"});
  with("{", "{\"more\": 1,");
  check_refused(place, "eval run", {"run/config.json", "unknown setting 'more'"});
  with("{", "[");
  check_refused(place, "eval run", {"run/config.json: not JSON: parse error at line"});
  with("\"width\": 16", "\"width\": 32");
  check_refused(place, "eval run", {"checkpoint.safetensors"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
