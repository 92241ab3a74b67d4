// The program in the README does what the README says.

#include <array>
#include <cstdio>
#include <string>

#include "tests/compare.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(readme)

BOOST_AUTO_TEST_CASE(the_program_trains_a_model) {
  FILE* pipe = popen(VLA_README_PROGRAM, "r");
  BOOST_REQUIRE(pipe);
  std::string output;
  std::array<char, 256> line;
  while (std::fgets(line.data(), line.size(), pipe)) output += line.data();
  const int status = pclose(pipe);
  BOOST_TEST_CONTEXT(output) {
    BOOST_TEST(status == 0);  // it fails below an accuracy of 0.9
    BOOST_TEST(output.find("held-out accuracy") != std::string::npos);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
