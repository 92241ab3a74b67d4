#include "tools/report/figure.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vla {
void Line::add(double at, const std::vector<double>& numbers) {
  if (numbers.empty()) return;
  const auto [least, most] = std::ranges::minmax(numbers);
  x.push_back(at);
  y.push_back(std::accumulate(numbers.begin(), numbers.end(), 0.0) /
              static_cast<double>(numbers.size()));
  low.push_back(least);
  high.push_back(most);
}

Table table_of(const LineFigure& figure) {
  const bool band =
      std::ranges::any_of(figure.lines, [](const Line& line) { return !line.low.empty(); });
  Table table = {{"line", figure.x_label, figure.y_label}};
  if (band) table[0].insert(table[0].end(), {"lowest", "highest"});
  for (const Line& line : figure.lines)
    for (std::size_t i = 0; i < line.x.size(); ++i) {
      if (!std::isfinite(line.x[i])) continue;  // the pen was lifted
      table.push_back({line.label, csv_number(line.x[i]), csv_number(line.y[i])});
      if (!band) continue;
      table.back().push_back(line.low.empty() ? "" : csv_number(line.low[i]));
      table.back().push_back(line.high.empty() ? "" : csv_number(line.high[i]));
    }
  return table;
}

Table table_of(const HeatMap& map) {
  Table table = {{map.y_label, map.x_label, "value"}};
  for (Index i = 0; i < map.rows; ++i)
    for (Index j = 0; j < map.columns; ++j) {
      const double value = map.values[static_cast<std::size_t>(i * map.columns + j)];
      if (std::isfinite(value))
        table.push_back({csv_number(static_cast<double>(i) * map.step),
                         csv_number(static_cast<double>(j) * map.step), csv_number(value)});
    }
  return table;
}

LineFigure figure_of_csv(const std::filesystem::path& file, const std::string& x,
                         const std::vector<std::string>& ys, LineFigure rest) {
  const Table table = read_csv(file);
  const std::vector<double> places = csv_column(table, x, file);
  for (const std::string& y : ys) {
    const std::vector<double> numbers = csv_column(table, y, file);
    Line line{.label = y};
    for (std::size_t row = 0; row < places.size(); ++row) {
      if (std::isnan(places[row]) || std::isnan(numbers[row])) continue;
      line.x.push_back(places[row]);
      line.y.push_back(numbers[row]);
    }
    rest.lines.push_back(std::move(line));
  }
  return rest;
}

void limit_lines(LineFigure& figure) {
  std::vector<Line> kept;
  std::string left_out;
  std::size_t curves = 0;
  for (Line& line : figure.lines) {
    if (line.kind == Line::Kind::curve && ++curves > kMostCurves)
      left_out += (left_out.empty() ? "" : ", ") + line.label;
    if (line.kind == Line::Kind::guide || curves <= kMostCurves) kept.push_back(std::move(line));
  }
  figure.lines = std::move(kept);
  if (!left_out.empty()) figure.caption += " Left out, to keep it readable: " + left_out + ".";
}

}  // namespace vla
