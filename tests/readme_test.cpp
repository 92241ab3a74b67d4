// What the READMEs show does what they say.

#include <array>
#include <cstdio>
#include <sstream>
#include <string>

#include "tests/compare.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

struct Finished {
  int status;
  std::string output;  // both streams
};

// Runs a program in an empty directory.
Finished run(const std::string& program) {
  const TemporaryDirectory directory;
  const std::string command = "cd '" + directory.path().string() + "' && '" + program + "' 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  BOOST_REQUIRE(pipe);
  std::string output;
  std::array<char, 256> line;
  while (std::fgets(line.data(), line.size(), pipe)) output += line.data();
  return {pclose(pipe), output};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(readme)

BOOST_AUTO_TEST_CASE(the_program_trains_a_model) {
  const Finished program = run(VLA_README_PROGRAM);
  BOOST_TEST_CONTEXT(program.output) {
    BOOST_TEST(program.status == 0);  // it fails below an accuracy of 0.9
    BOOST_TEST(program.output.find("held-out accuracy") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(the_other_examples_run) {
  std::istringstream examples(VLA_README_EXAMPLES);
  int count = 0;
  for (std::string path; std::getline(examples, path, '|'); ++count) {
    const Finished example = run(path);
    BOOST_TEST_CONTEXT(path << "\n" << example.output) BOOST_TEST(example.status == 0);
  }
  BOOST_TEST(count > 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
