// What the shell offers after the words of a command line, by the script that vla prints.
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "tasks/tasks.hpp"
#include "tests/program.hpp"

namespace vla {
namespace {

// The words that bash offers for the last of these, which may be empty.
std::set<std::string> offered(const Place& place, const std::vector<std::string>& words) {
  std::string line = "vla";
  for (const std::string& word : words) line += " " + quoted(word);
  std::ofstream(place / "ask.sh") << "source <(" << quoted(VLA_PROGRAM) << " completion bash)\n"
                                  << "COMP_WORDS=(" << line << ")\n"
                                  << "COMP_CWORD=" << words.size() << "\n"
                                  << "_vla\n"
                                  << "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
                                  << "complete -p vla >&2\n";
  const Outcome outcome = Place::run_in(place.path(), "bash", "ask.sh");
  BOOST_TEST(outcome.errors == "complete -o default -F _vla vla\n");
  std::istringstream lines(outcome.out);
  std::set<std::string> result;
  for (std::string word; std::getline(lines, word);)
    if (!word.empty()) result.insert(word);
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(completion)

BOOST_AUTO_TEST_CASE(bash_offers_commands_options_and_values) {
  using Words = std::set<std::string>;
  const Place place;
  BOOST_TEST((offered(place, {"ev"}) == Words{"eval"}));
  BOOST_TEST(offered(place, {""}).contains("doctor"));
  BOOST_TEST(offered(place, {""}).size() > 15);
  BOOST_TEST((offered(place, {"train", "--warm"}) == Words{"--warm-up"}));
  BOOST_TEST((offered(place, {"train", "--tied"}) == Words{"--tied-head"}));
  BOOST_TEST((offered(place, {"train", "--no-ti"}) == Words{"--no-tied-head"}));
  Words tasks;
  for (const TaskKind& kind : task_kinds()) tasks.insert(std::string(kind.name));
  BOOST_TEST((offered(place, {"train", "--task", ""}) == tasks));
  BOOST_TEST((offered(place, {"train", "--seed", "1", "--model", "vla"}) ==
              Words{"vla", "vla-v1", "vla-v3"}));
  BOOST_TEST((offered(place, {"bench", ""}) == Words{"train", "ops", "attention"}));
  BOOST_TEST(offered(place, {"bench", "attention", "--dec"}).contains("--decode"));
  BOOST_TEST(!offered(place, {"bench", "--dec"}).contains("--decode"));
  BOOST_TEST(offered(place, {"experiment", "mqar"}).contains("mqar-capacity"));
  BOOST_TEST((offered(place, {"completion", ""}) == Words{"bash", "zsh"}));
  BOOST_TEST((offered(place, {"inspect", ""}) ==
              Words{"penalty", "memory", "attention", "gradients", "graph"}));
  // Names of files are left to the shell.
  BOOST_TEST(offered(place, {"train", "--text", "--"}).empty());
  BOOST_TEST(offered(place, {"eval", ""}).empty());
}

// What is offered is what a refusal of another word says is allowed.
BOOST_AUTO_TEST_CASE(words_offered_are_those_allowed) {
  const Place place;
  for (const std::string option :
       {"precision", "dtype", "penalty", "features", "operator-form", "held-out", "form"}) {
    const std::string task = option == "held-out" ? "--task listops " : "";
    const Outcome outcome = place.run("train " + task + "--" + option + " none");
    BOOST_TEST(outcome.code == 2);
    const std::string& message = outcome.errors;
    std::string allowed = message.substr(message.rfind("; ") + 2);
    if (allowed.starts_with("allowed: ")) allowed.erase(0, 9);
    for (std::size_t at; (at = allowed.find(" or ")) != std::string::npos;)
      allowed.replace(at, 4, ", ");
    std::erase(allowed, ',');
    std::istringstream words(allowed);
    std::set<std::string> expected;
    for (std::string word; words >> word;) expected.insert(word);
    BOOST_TEST((offered(place, {"train", "--" + option, ""}) == expected), message);
  }
}

// A value that is the name of a command is none.
BOOST_AUTO_TEST_CASE(values_are_no_commands) {
  const Place place;
  BOOST_TEST(offered(place, {"train", "--out", "eval", "--warm"}).contains("--warm-up"));
}

BOOST_AUTO_TEST_CASE(other_shells) {
  const Place place;
  const std::string bash = place.run("completion bash").out;
  BOOST_TEST(
      (place.run("completion zsh").out == "autoload -U +X bashcompinit && bashcompinit\n" + bash));
  check_refused(place, "completion fish", {"shell 'fish' is not known; bash or zsh"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
