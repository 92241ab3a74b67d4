// vla regression: what it prints and writes, and what it refuses.
#include <boost/test/unit_test.hpp>

#include "tests/program.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(regression_command)

const std::string kSmallRegression =
    "regression --dimensions 2 --points 5 --width 8 --heads 2 --layers 1 --hidden 8 --batch 8 "
    "--steps 4 --examples 20 --threads 1 ";

BOOST_AUTO_TEST_CASE(a_run_prints_the_errors_and_writes_them) {
  const Place place;
  const Outcome outcome = place.run(kSmallRegression + "--noise 0.1 --out errors.csv");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.code == 0);
  for (const char* part :
       {"step     4/4  squared error ", "   place           vla         ridge", "\n    mean"})
    BOOST_TEST((outcome.out.find(part) != std::string::npos), outcome.out);
  const std::string table = read(place / "errors.csv");
  BOOST_TEST(table.starts_with("place,model,ridge,kalman\n1,"));
  BOOST_TEST(std::ranges::count(table, '\n') == 6);
  place.run(kSmallRegression + "--noise 0.1 --out again.csv");
  BOOST_TEST(read(place / "again.csv") == table);
  BOOST_TEST(place.run(kSmallRegression + "--model deltanet --drift 0.1").code == 0);
}

BOOST_AUTO_TEST_CASE(what_is_not_allowed_is_refused) {
  const Place place;
  check_refused(place, kSmallRegression + "--drift 2",
                {"regression: drift 2 is not allowed; 0 to 1"});
  check_refused(place, kSmallRegression + "--examples 0",
                {"--examples 0 is not allowed; 1 or more"});
  check_refused(place, kSmallRegression + "--model best", {"best"});
  check_refused(place, kSmallRegression + "--positions", {"--positions"});
  check_refused(place, kSmallRegression + "--out missing/errors.csv", {"missing/errors.csv"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
