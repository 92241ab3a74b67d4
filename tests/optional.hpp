// Tests that need another program run where there is one; elsewhere they are skipped, with a
// reason, and counted as skipped.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <string>

namespace vla {

/// For a test's precondition(): whether a command of the shell succeeds, and why the test is
/// skipped if it does not.
inline auto succeeds(const std::string& command, const std::string& otherwise) {
  return [=](boost::unit_test::test_unit_id) {
    boost::test_tools::assertion_result result(
        std::system((command + " >/dev/null 2>&1").c_str()) == 0);
    if (!result) result.message() << otherwise;
    return result;
  };
}

inline auto has_program(const std::string& name) {
  return succeeds("command -v " + name, name + " is not installed");
}

/// The interpreter of tests against Python packages: python3, or what VLA_PYTHON names.
inline std::string python() {
  const char* named = std::getenv("VLA_PYTHON");
  return named == nullptr ? "python3" : named;
}

inline auto has_python_package(const std::string& package) {
  return succeeds(python() + " -c 'import " + package + "'",
                  "no python3 with the package " + package + " (VLA_PYTHON names another)");
}

}  // namespace vla
