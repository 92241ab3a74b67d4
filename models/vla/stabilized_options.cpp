#include "models/vla/stabilized_options.hpp"

#include <cmath>
#include <limits>

namespace vla {
namespace {

// An update multiplies elements of A with each other: from larger ones the next A is nan. Rounding
// may spoil A long before that.
void check_size(const StabilizedOptions& o, DType dtype) {
  dispatch_floating(dtype, "stabilized_recurrence", [&](auto zero) {
    const double most = std::sqrt(static_cast<double>(std::numeric_limits<decltype(zero)>::max()));
    check(1 / o.lambda0 <= most, "stabilized_recurrence: lambda0 is ", o.lambda0, "; ", 1 / most,
          " or more is needed in ", dtype, ", where A = I / lambda0 overflows");
    check(o.nudge <= most, "stabilized_recurrence: nudge is ", o.nudge, "; ", most,
          " or less is needed in ", dtype, ", where A overflows");
  });
}

}  // namespace

void check_options(const StabilizedOptions& o, DType dtype) {
  const auto positive = [](const char* option, double value) {
    check(value > 0 && std::isfinite(value), "stabilized_recurrence: ", option, " is ", value,
          "; a finite number above 0 is needed");
  };
  const auto not_negative = [](const char* option, double value) {
    check(value >= 0 && std::isfinite(value), "stabilized_recurrence: ", option, " is ", value,
          "; 0 or a finite number above it is needed");
  };
  positive("lambda0", o.lambda0);
  positive("delta_floor", o.delta_floor);
  positive("unit_floor", o.unit_floor);
  not_negative("fallback_below", o.fallback_below);
  check(o.nudge_period >= 0, "stabilized_recurrence: nudge_period is ", o.nudge_period,
        "; 0 (never) or more is needed");
  not_negative("nudge", o.nudge);
  not_negative("error_clip", o.error_clip);
  not_negative("renormalize_above", o.renormalize_above);
  not_negative("guard_above", o.guard_above);
  not_negative("guard", o.guard);
  check_size(o, dtype);
}

}  // namespace vla
