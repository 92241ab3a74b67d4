#include "models/vla/stabilized_options.hpp"

#include <cmath>

namespace vla {

void check_options(const StabilizedOptions& o) {
  const auto positive = [](const char* option, double value) {
    check(value > 0 && std::isfinite(value), "stabilised recurrence: ", option, " is ", value,
          "; a finite number above 0 is needed");
  };
  const auto not_negative = [](const char* option, double value) {
    check(value >= 0 && std::isfinite(value), "stabilised recurrence: ", option, " is ", value,
          "; 0 or a finite number above it is needed");
  };
  positive("lambda0", o.lambda0);
  positive("delta_floor", o.delta_floor);
  positive("unit_floor", o.unit_floor);
  not_negative("fallback_below", o.fallback_below);
  check(o.nudge_period >= 0, "stabilised recurrence: nudge_period is ", o.nudge_period,
        "; 0 (never) or more is needed");
  not_negative("nudge", o.nudge);
  not_negative("error_clip", o.error_clip);
  not_negative("renormalize_above", o.renormalize_above);
  not_negative("guard_above", o.guard_above);
  not_negative("guard", o.guard);
}

}  // namespace vla
