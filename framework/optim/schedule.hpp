// Learning rates as functions of the step. A schedule is a pure function, so that a resumed run
// continues where it was.
#pragma once

#include <cstdint>

namespace vla {

/// A share of the base rate at each step.
struct Schedule {
  enum class Kind { constant, cosine, linear };
  Kind kind = Kind::constant;
  std::int64_t warm_up = 0;  ///< steps over which the share rises linearly to 1
  std::int64_t total = 0;    ///< step at which cosine and linear reach `final_share`
  double final_share = 0;

  /// The share of the base rate at `step`, counted from 0. With warm-up the first step has
  /// 1 / warm_up, not 0. Past `total` it stays at `final_share`. Throws Error for a negative step,
  /// and for cosine and linear unless warm_up < total.
  double operator()(std::int64_t step) const;
};

}  // namespace vla
