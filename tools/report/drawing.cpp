#include "tools/report/drawing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tools/report/gnuplot.hpp"
#include "tools/report/ticks.hpp"

namespace vla {
namespace {

constexpr std::size_t kFewPoints = 12;  // a curve of as few shows them
constexpr std::size_t kFewSizes = 12;   // an axis has numbers at the points of as few
constexpr double kTop = 12, kBottom = 58, kRight = 20, kColorsRight = 104;

std::string number_text(double number) {
  return std::isfinite(number) ? fmt::format("{}", number) : "NaN";
}

bool has_band(const Line& line) {
  for (std::size_t i = 0; i < line.low.size(); ++i)
    if (line.low[i] < line.high[i]) return true;
  return false;
}

std::vector<double> numbers_along(const LineFigure& figure, bool along_x) {
  std::vector<double> numbers;
  for (const Line& line : figure.lines)
    for (const auto* part :
         along_x ? std::vector{&line.x} : std::vector{&line.y, &line.low, &line.high})
      for (const double number : *part)
        if (std::isfinite(number)) numbers.push_back(number);
  return numbers;
}

bool is_logarithmic(Scale scale, const std::vector<double>& numbers) {
  const auto [low, high] = std::ranges::minmax(numbers);
  return low > 0 && (scale == Scale::logarithmic || (scale == Scale::by_span && high >= 10 * low));
}

// The range of the numbers and a little more on both sides.
Axis axis_of(Scale scale, const std::vector<double>& numbers, double pixels, bool horizontal) {
  const auto [low, high] = std::ranges::minmax(numbers);
  Axis axis{.low = low,
            .high = high,
            .logarithmic = is_logarithmic(scale, numbers),
            .pixels = pixels,
            .horizontal = horizontal};
  constexpr double kMargin = 0.04;
  if (axis.logarithmic) {
    const double decades = std::log10(high) - std::log10(low);
    const double factor = high > low ? std::pow(10, std::min(kMargin * decades, 1.0)) : 2;
    axis.low /= factor;
    axis.high *= factor;
  } else {
    const double more = high > low ? kMargin * (high - low) : std::max(1.0, std::abs(high)) / 2;
    axis.low -= more;
    axis.high += more;
  }
  return axis;
}

// The points themselves where they are a few sizes that were tried; else round numbers.
std::vector<double> x_ticks(Scale scale, const std::vector<double>& numbers, const Axis& axis) {
  const std::set<double> places(numbers.begin(), numbers.end());
  if (scale == Scale::linear || places.size() > kFewSizes) return round_ticks(axis);
  return ticks_with_room({places.begin(), places.end()}, axis);
}

std::string tick_list(const std::vector<double>& ticks) {
  std::string text;
  for (const double tick : ticks)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", gnuplot_text(tick_text(tick)),
                        number_text(tick));
  return "(" + text + ")";
}

std::string frame(double left, double right, double height) {
  return fmt::format(
      "unset key\nset border 3 lc rgb '#767676'\nset tics nomirror out scale 0.5\n"
      "set lmargin at screen {}\nset rmargin at screen {}\n"
      "set tmargin at screen {}\nset bmargin at screen {}\n",
      left / kDrawingWidth, 1 - right / kDrawingWidth, 1 - kTop / height, kBottom / height);
}

// Room for the numbers of the y axis, and its name beside them.
double left_margin(const std::vector<double>& ticks) {
  std::size_t longest = 1;
  for (const double tick : ticks) longest = std::max(longest, tick_text(tick).size());
  return 46 + 8.5 * static_cast<double>(longest);
}

std::string data_block(std::size_t i, const Line& line) {
  std::string text = fmt::format("$line{} << EOD\n", i);
  for (std::size_t k = 0; k < line.x.size(); ++k)
    text += fmt::format("{} {} {} {}\n", number_text(line.x[k]), number_text(line.y[k]),
                        number_text(line.low.empty() ? line.y[k] : line.low[k]),
                        number_text(line.high.empty() ? line.y[k] : line.high[k]));
  return text + "EOD\n";
}

std::string curve(std::size_t i, const Line& line, const LineStyle& style) {
  if (line.kind == Line::Kind::guide)
    return fmt::format("$line{} using 1:2 with lines lw 1.5 dt ({}) lc rgb '{}'", i,
                       guide_pattern(style.dash, ","), style.color);
  if (line.kind == Line::Kind::points)
    return fmt::format("$line{} using 1:2 with points pt 6 ps 0.9 lw 1.5 lc rgb '{}'", i,
                       style.color);
  const std::string pattern = dash_pattern(style.dash, ",");
  const bool of_many_strokes = std::ranges::any_of(line.x, [](double x) { return std::isnan(x); });
  return fmt::format("$line{} using 1:2 with {} lw {} {} lc rgb '{}'", i,
                     line.x.size() <= kFewPoints ? "linespoints pt 7 ps 0.45" : "lines",
                     of_many_strokes ? 1 : 2, pattern.empty() ? "dt solid" : "dt (" + pattern + ")",
                     style.color);
}

// Light for little. Of numbers with signs, blue below and red above 0.
std::string colors(bool with_signs) {
  const char* steps = with_signs ? "0 '#2166ac', 1 '#92c5de', 2 '#f7f7f7', 3 '#f4a582', 4 '#b2182b'"
                                 : "0 '#f7fbff', 1 '#9ecae1', 2 '#4292c6', 3 '#08306b'";
  return fmt::format("set palette maxcolors 129 defined ({})\n", steps);
}

}  // namespace

std::vector<LineStyle> styles_of(const LineFigure& figure, Palette& palette) {
  std::vector<LineStyle> styles;
  std::vector<LineStyle> of_curves;
  int guides = 0;
  for (const Line& line : figure.lines) {
    LineStyle style = line.kind == Line::Kind::guide
                          ? LineStyle{kGuideColor, guides++}
                          : palette.style(line.model.empty() ? line.label : line.model);
    if (line.kind == Line::Kind::curve) {
      while (std::ranges::find(of_curves, style) != of_curves.end()) ++style.dash;
      of_curves.push_back(style);
    }
    styles.push_back(style);
  }
  return styles;
}

bool has_numbers(const LineFigure& figure) {
  return !numbers_along(figure, true).empty() && !numbers_along(figure, false).empty();
}

std::string script_of(const LineFigure& figure, const std::vector<LineStyle>& styles) {
  constexpr double height = kLineHeightOfDrawing;
  Axis y = axis_of(figure.y_scale, numbers_along(figure, false), height - kTop - kBottom, false);
  if (figure.share) y.low = 0, y.high = 1.02, y.logarithmic = false;
  const std::vector<double> y_ticks = round_ticks(y);
  const double left = left_margin(y_ticks);
  const std::vector<double> along = numbers_along(figure, true);
  const Axis x = axis_of(figure.x_scale, along, kDrawingWidth - left - kRight, true);

  std::string script = frame(left, kRight, height);
  script += fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", x.low, x.high, y.low, y.high);
  if (x.logarithmic) script += "set logscale x\n";
  if (y.logarithmic) script += "set logscale y\n";
  script += fmt::format(
      "set xtics offset 0,0.35 {}\nset ytics {}\nset grid ytics lt 1 lw 0.7 lc rgb '#dddddd'\n",
      tick_list(x_ticks(figure.x_scale, along, x)), tick_list(y_ticks));
  script += fmt::format("set xlabel {} offset 0,0.6\nset ylabel {} offset 0.8,0\n",
                        gnuplot_text(figure.x_label), gnuplot_text(figure.y_label));
  std::string bands, curves;
  for (std::size_t i = 0; i < figure.lines.size(); ++i) {
    const Line& line = figure.lines[i];
    if (line.x.empty()) continue;
    script += data_block(i, line);
    if (has_band(line))
      bands += fmt::format(
          "$line{} using 1:3:4 with filledcurves fc rgb '{}' fs transparent solid 0.18 noborder, ",
          i, styles[i].color);
    curves += (curves.empty() ? "" : ", ") + curve(i, line, styles[i]);
  }
  return script + "plot " + bands + curves + "\n";
}

std::string script_of(const HeatMap& map) {
  constexpr double height = kMapHeightOfDrawing;
  std::vector<double> shown;
  std::ranges::copy_if(map.values, std::back_inserter(shown),
                       [](double value) { return std::isfinite(value); });
  if (shown.empty()) shown = {0};
  const auto [least, most] = std::ranges::minmax(shown);
  const bool with_signs = least < 0;
  const double size = std::max({std::abs(least), std::abs(most), 1e-300});
  const Axis color{.low = with_signs ? -size : 0, .high = size, .pixels = height - kTop - kBottom};
  const auto end = [&](Index count) { return (static_cast<double>(count) - 0.5) * map.step; };
  const auto axis = [&](Index count, double pixels, bool horizontal) {
    return Axis{.low = 0, .high = end(count), .pixels = pixels, .horizontal = horizontal};
  };
  const double left = left_margin({end(map.rows)});
  std::string script = frame(left, kColorsRight, height);
  script +=
      fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\nset cbrange [{}:{}]\n", -map.step / 2,
                  end(map.columns), end(map.rows), -map.step / 2, color.low, color.high);
  script += fmt::format(
      "set xtics offset 0,0.35 {}\nset ytics {}\nset cbtics {}\nset xlabel {} offset 0,0.6\nset "
      "ylabel {} offset 0.8,0\n",
      tick_list(round_ticks(axis(map.columns, kDrawingWidth - left - kColorsRight, true))),
      tick_list(round_ticks(axis(map.rows, color.pixels, false))), tick_list(round_ticks(color)),
      gnuplot_text(map.x_label), gnuplot_text(map.y_label));
  script += colors(with_signs);
  script +=
      "set object 1 rectangle from graph 0,0 to graph 1,1 behind fc rgb '#eeeeee' fs noborder\n";
  script += "$map << EOD\n";
  for (Index i = 0; i < map.rows; ++i) {
    for (Index j = 0; j < map.columns; ++j)
      script += number_text(map.values[static_cast<std::size_t>(i * map.columns + j)]) + " ";
    script += "\n";
  }
  return script +
         fmt::format("EOD\nplot $map matrix using ($1*{0}):($2*{0}):3 with image\n", map.step);
}

}  // namespace vla
