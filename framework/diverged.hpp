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

}  // namespace vla
