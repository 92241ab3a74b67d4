// The vla program run from a test: in a folder of its own, with what it printed.
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/temporary_directory.hpp"

namespace vla {

inline std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A word as the shell takes it, whatever is in it.
inline std::string quoted(const std::string& word) {
  std::string result = "'";
  for (char letter : word) result += letter == '\'' ? "'\\''" : std::string(1, letter);
  return result + "'";
}

struct Outcome {
  int code = -1;
  std::string out, errors;
};

// A folder in which the program is run.
struct Place : TemporaryDirectory {
  Outcome run(const std::string& words) const { return run_in(path(), VLA_PROGRAM, words); }
  static Outcome run_in(const std::filesystem::path& folder, const std::string& program,
                        const std::string& words) {
    const std::string command = "cd " + quoted(folder.string()) + " && " + quoted(program) + " " +
                                words + " >stdout.txt 2>stderr.txt </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read(folder / "stdout.txt"),
            read(folder / "stderr.txt")};
  }
  bool has(const std::string& name) const { return std::filesystem::exists(*this / name); }
};

// Refused: exit code 2, nothing on stdout, and one line "vla: ..." that holds all `parts`.
inline void check_refused(const Place& place, const std::string& words,
                          const std::vector<std::string>& parts) {
  BOOST_TEST_CONTEXT("vla " << words) {
    const Outcome outcome = place.run(words);
    BOOST_TEST(outcome.code == 2);
    BOOST_TEST(outcome.out == "");
    BOOST_TEST(outcome.errors.starts_with("vla: "));
    BOOST_TEST(std::ranges::count(outcome.errors, '\n') == 1);
    for (const std::string& part : parts)
      BOOST_TEST((outcome.errors.find(part) != std::string::npos),
                 "'" << part << "' is not in: " << outcome.errors);
  }
}

// A training that takes a second.
inline const std::string kSmall =
    "train --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 1 --hidden 16 --batch 4 "
    "--warm-up 2 --steps 8 --report-every 2 --checkpoint-every 3 --threads 1 ";

}  // namespace vla
