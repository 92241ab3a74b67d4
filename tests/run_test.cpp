// metrics.jsonl that nobody but a stranger wrote.
#include "tools/run.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/error_of.hpp"
#include "tests/loader_files.hpp"
#include "tests/temporary_directory.hpp"

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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
