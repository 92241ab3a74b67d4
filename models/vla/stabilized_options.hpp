// Constants of the published recurrence.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

/// Those of version 1 by default.
struct StabilizedOptions {
  double lambda0 = 1;            ///< A_0 = I / lambda0, without a gradient
  double fallback_below = 1e-6;  ///< |delta| under it: A + fallback I in place of the update
  double delta_floor = 1e-6;     ///< delta is raised to it, and is then a constant
  Index nudge_period = 50;       ///< updates between nudges A + nudge I; 0: never
  double nudge = 1e-5;
  bool unit_coefficient = false;     ///< alpha = unit(A k) in place of A k
  double unit_floor = 1e-12;         ///< of that unit()
  bool read_through_inverse = true;  ///< o = S A q in place of S q
  double error_clip = 10;            ///< e longer than it is shortened to it; 0: never
  double renormalize_above = 0;      ///< S / |S| where |S| (Frobenius) exceeds it; 0: never
  double guard_above = 1000;         ///< A + guard I where |S| or |A| exceeds it; 0: never
  double guard = 1e-5;
};

/// Throws Error unless lambda0 and both floors are above 0, all others at least 0, all finite, and
/// the squares of 1 / lambda0 and nudge finite in the element type of the recurrence.
void check_options(const StabilizedOptions& options, DType dtype);

}  // namespace vla
