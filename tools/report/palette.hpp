// Colours and dashes of lines: one model looks the same in every figure of a page.
#pragma once

#include <map>
#include <string>

namespace vla {

/// Dashes are told apart by numbers: 0 is a whole line.
struct LineStyle {
  std::string color;  ///< "#rrggbb"
  int dash = 0;
  bool operator==(const LineStyle&) const = default;
};

/// Colours that people with any colour vision tell apart.
class Palette {
 public:
  /// A model of `vla models` has a colour of its own; its first variants, such as deltanet-2x, have
  /// it with dashes; other names have what is free.
  LineStyle style(const std::string& name);

 private:
  LineStyle new_style(const std::string& name);

  std::map<std::string, LineStyle> styles_;
  std::map<std::string, int> variants_;  // by colour
  std::size_t others_ = 0;
};

/// Lengths of dashes and gaps with `separator` between; empty for a whole line.
std::string dash_pattern(int dash, const char* separator);

/// The same of lines that guide the eye, such as chance: the first of a figure, and others.
std::string guide_pattern(int dash, const char* separator);
inline constexpr const char* kGuideColor = "#767676";

}  // namespace vla
