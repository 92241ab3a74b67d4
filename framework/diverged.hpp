// A training that went wrong though nothing about its input was.
#pragma once

#include "framework/check.hpp"

namespace vla {

/// A loss, the norm of gradients, or what reaches an op that needs finite numbers is not finite
/// any more. Smaller steps may help.
class Diverged : public Error {
 public:
  using Error::Error;
};

/// Throws Diverged with the parts as its message unless `condition` holds.
template <class... Parts>
void check_not_diverged(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    throw Diverged(concatenate(parts...));
}

/// Throws with the parts as its message, about a number that may not be: Diverged for NaN, which
/// comes of a computation, and Error for any other, which is a mistake.
template <class... Parts>
[[noreturn]] void fail_number(double number, const Parts&... parts) {
  if (number != number) throw Diverged(concatenate(parts...));
  fail(parts...);
}

}  // namespace vla
