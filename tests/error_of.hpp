// What is refused, and in which words.
#pragma once

#include <boost/test/unit_test.hpp>
#include <string>

#include "framework/check.hpp"

namespace vla {

/// The message of the Error that `action` throws, or "accepted". Anything else that it throws ends
/// the test.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

inline void check_contains(const std::string& text, const std::string& part) {
  BOOST_TEST(text.find(part) != std::string::npos, text << " does not contain " << part);
}

}  // namespace vla
