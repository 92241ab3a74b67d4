// Tables of words: columns for people, CSV for programs.
#include "framework/table.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>

namespace vla {

BOOST_AUTO_TEST_SUITE(table)

BOOST_AUTO_TEST_CASE(columns_are_as_wide_as_their_widest_word) {
  const Table words = {{"name", "number", ""}, {"a, b", "1.5", "x"}, {"longer", "-20", ""}};
  BOOST_TEST(aligned(words, {false, true, false}) ==
             "name    number\n"
             "a, b       1.5  x\n"
             "longer     -20\n");
  BOOST_TEST(aligned({{"name", "number"}}, {false, true}) == "name  number\n");
  BOOST_TEST(aligned({{"", ""}, {"", ""}}, {true, false}) == "\n\n");
}

BOOST_AUTO_TEST_CASE(csv_quotes_what_would_break_it) {
  BOOST_TEST(csv_text({{"name", "value"}, {"a b", ""}}) == "name,value\na b,\n");
  BOOST_TEST(csv_text({{"a, b", "say \"no\"", "two\nlines", "\r"}}) ==
             "\"a, b\",\"say \"\"no\"\"\",\"two\nlines\",\"\r\"\n");
}

BOOST_AUTO_TEST_CASE(numbers_have_so_many_digits) {
  BOOST_TEST(rounded(0.012345) == "0.0123");
  BOOST_TEST(rounded(4.5e20) == "4.5e+20");
  BOOST_TEST(rounded(-0.0) == "-0");
  BOOST_TEST(rounded(123456, 4) == "1.235e+05");
  BOOST_TEST(rounded(std::nan("")) == "nan");
  BOOST_TEST(rounded(-HUGE_VAL) == "-inf");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
