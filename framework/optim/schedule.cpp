#include "framework/optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "framework/check.hpp"

namespace vla {

double Schedule::operator()(std::int64_t step) const {
  check(step >= 0, "schedule: step ", step, " is not allowed; 0 or more");
  check(kind == Kind::constant || warm_up < total, "schedule: a warm-up of ", warm_up,
        " steps is not shorter than the ", total, " in total");
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up);
  if (kind == Kind::constant) return 1;
  if (step >= total) return final_share;
  // Here warm_up <= step < total.
  const double progress =
      static_cast<double>(step - warm_up) / static_cast<double>(total - warm_up);
  const double left =
      kind == Kind::cosine ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : 1 - progress;
  return final_share + (1 - final_share) * left;
}

}  // namespace vla
