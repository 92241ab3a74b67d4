// How every part of the project refuses bad input: one exception type, one clear line.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace vla {

/// Bad input or misuse. The message is one line: what, the actual value, what is allowed.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The parts written one after the other, as `operator<<` prints them.
template <class... Parts>
std::string concatenate(const Parts&... parts) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);  // or what finds no memory would be left out in silence
  (out << ... << parts);
  return out.str();
}

/// Throws Error with the parts as its message.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concatenate(parts...));
}

/// Throws Error with the parts as its message unless `condition` holds.
template <class... Parts>
void check(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    fail(parts...);
}

}  // namespace vla
