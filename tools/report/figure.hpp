// Figures as data: what is drawn, and what stands in the CSV beside it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/tensor.hpp"
#include "tools/csv.hpp"

namespace vla {

/// A curve; with `low` and `high` it is a mean, and they are the band around it. NaN: no number.
struct Line {
  enum class Kind { curve, points, guide };

  std::string label;                        ///< in the legend
  std::string model = {};                   ///< whose colour it has; empty: the label's
  std::vector<double> x = {}, y = {};       ///< equally long
  std::vector<double> low = {}, high = {};  ///< as long, or empty
  Kind kind = Kind::curve;  ///< points are not in the legend; a guide is dashed and grey

  /// Adds the mean of `numbers` at x, with their lowest and highest; nothing if there are none.
  void add(double x, const std::vector<double>& numbers);
};

enum class Scale {
  linear,
  by_span,  ///< logarithmic where the numbers are positive and span a decade
  logarithmic
};

struct LineFigure {
  std::string title, x_label, y_label;
  Scale x_scale = Scale::linear, y_scale = Scale::linear;
  bool share = false;  ///< y goes from 0 to 1
  std::vector<Line> lines = {};
  std::string caption = {};
};

/// Numbers in rows and columns, row 0 at the top. NaN: left blank.
struct HeatMap {
  std::string title, x_label, y_label;
  Index rows = 0, columns = 0;
  std::vector<double> values = {};  ///< row after row
  double step = 1;                  ///< what a row or column stands for
  std::string caption = {};
};

/// A row a point: line, x, y, and the band where there is one.
Table table_of(const LineFigure& figure);
/// A row a cell that is not blank.
Table table_of(const HeatMap& map);

/// The rest of a figure with a line for each of the columns `ys` of a CSV file against its column
/// `x`; empty words are left out. Throws Error for a file that cannot be read, a column that it
/// does not have, and a word that is no number.
LineFigure figure_of_csv(const std::filesystem::path& file, const std::string& x,
                         const std::vector<std::string>& ys, LineFigure rest);

/// As many as can be told apart in one figure.
inline constexpr std::size_t kMostCurves = 8;

/// Keeps so many curves, the first ones, with the points that follow each, and
/// says in the caption which others there are.
void limit_lines(LineFigure& figure);

}  // namespace vla
