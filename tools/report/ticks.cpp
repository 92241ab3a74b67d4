#include "tools/report/ticks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace vla {
namespace {

constexpr double kLetterWidth = 8.5, kLineHeight = 24;  // pixels of a font of 14
constexpr double kMostSteps = 6;

double place(double number, const Axis& axis) {
  const auto scaled = [&](double x) { return axis.logarithmic ? std::log10(x) : x; };
  return (scaled(number) - scaled(axis.low)) / (scaled(axis.high) - scaled(axis.low)) * axis.pixels;
}

std::vector<double> even_ticks(const Axis& axis) {
  const double least = (axis.high - axis.low) / kMostSteps;
  const double decade = std::pow(10, std::floor(std::log10(least)));
  double step = 10 * decade;
  for (const double factor : {5, 2, 1})
    if (factor * decade >= least * (1 - 1e-9)) step = factor * decade;
  std::vector<double> ticks;
  const double first = std::ceil(axis.low / step - 1e-9);
  for (int i = 0; (first + i) * step <= axis.high + 1e-9 * step && i <= 2 * kMostSteps; ++i)
    ticks.push_back((first + i) * step);
  return ticks;
}

std::vector<double> decade_ticks(const Axis& axis, const std::vector<double>& factors) {
  std::vector<double> ticks;
  for (double k = std::floor(std::log10(axis.low)); k <= std::ceil(std::log10(axis.high)); ++k)
    for (const double factor : factors)
      if (const double tick = factor * std::pow(10, k);
          tick >= axis.low * (1 - 1e-9) && tick <= axis.high * (1 + 1e-9))
        ticks.push_back(tick);
  return ticks;
}

// Whole decades where there are enough of them; every second or third where there are many.
std::vector<double> logarithmic_ticks(const Axis& axis) {
  const std::vector<double> decades = decade_ticks(axis, {1});
  if (decades.size() < 2) {
    const std::vector<double> more = decade_ticks(axis, {1, 2, 5});
    return more.size() < 2 ? even_ticks(axis) : more;
  }
  if (decades.size() < 3) return decade_ticks(axis, {1, 3});
  const auto every =
      static_cast<std::size_t>(std::ceil(static_cast<double>(decades.size()) / (kMostSteps + 1)));
  std::vector<double> ticks;
  for (std::size_t i = 0; i < decades.size(); i += every) ticks.push_back(decades[i]);
  return ticks;
}

}  // namespace

std::string tick_text(double number) {
  const double size = std::abs(number);
  for (const auto& [unit, letter] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
    if (size >= 10 * unit / (unit > 1e3 ? 10 : 1) && std::fmod(size, unit / 10) < 1e-6)
      return fmt::format("{:.6g}{}", number / unit, letter);
  return fmt::format("{:.6g}", size < 1e-12 ? 0.0 : number);
}

std::vector<double> round_ticks(const Axis& axis) {
  return ticks_with_room(axis.logarithmic ? logarithmic_ticks(axis) : even_ticks(axis), axis);
}

std::vector<double> ticks_with_room(const std::vector<double>& numbers, const Axis& axis) {
  std::vector<double> kept;
  double end = -1e300;
  for (const double number : numbers) {
    const double half = axis.horizontal
                            ? kLetterWidth * (static_cast<double>(tick_text(number).size()) + 1) / 2
                            : kLineHeight / 2;
    const double at = place(number, axis);
    if (at - half < end) continue;
    kept.push_back(number);
    end = at + half;
  }
  return kept;
}

}  // namespace vla
