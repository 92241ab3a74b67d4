// Where an axis has its numbers: few enough that no two touch.
#pragma once

#include <string>
#include <vector>

namespace vla {

struct Axis {
  double low = 0, high = 1;
  bool logarithmic = false;
  double pixels = 100;      ///< how long it is
  bool horizontal = false;  ///< its numbers stand side by side, not one above the other
};

/// A number as an axis has it.
std::string tick_text(double number);

/// Round numbers for an axis.
std::vector<double> round_ticks(const Axis& axis);

/// Those of `numbers`, in order, that have room beside those before them.
std::vector<double> ticks_with_room(const std::vector<double>& numbers, const Axis& axis);

}  // namespace vla
