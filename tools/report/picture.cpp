#include "tools/report/picture.hpp"

#include <fmt/format.h>

#include "tools/report/drawing.hpp"
#include "tools/report/page.hpp"

namespace vla {

std::vector<LegendEntry> legend_of(const LineFigure& figure, const std::vector<LineStyle>& styles) {
  std::vector<LegendEntry> entries;
  if (figure.lines.size() < 2) return entries;
  for (std::size_t i = 0; i < figure.lines.size(); ++i) {
    const Line& line = figure.lines[i];
    if (line.kind == Line::Kind::points || line.x.empty()) continue;
    entries.push_back({line.label, styles[i].color,
                       line.kind == Line::Kind::guide ? guide_pattern(styles[i].dash, " ")
                                                      : dash_pattern(styles[i].dash, " ")});
  }
  return entries;
}

std::string picture_of(const std::string& drawing, int height, const std::string& title,
                       const std::vector<LegendEntry>& legend) {
  constexpr int kTitle = 28, kRow = 20, kLeft = 16, kStroke = 28;
  constexpr double kLetter = 7.5;  // of the legend, about
  std::string entries;
  int x = kLeft, y = kTitle + height + kRow / 2;
  for (const auto& [label, color, dashes] : legend) {
    const int width = kStroke + 24 + static_cast<int>(kLetter * static_cast<double>(label.size()));
    if (x > kLeft && x + width > kDrawingWidth) {
      x = kLeft;
      y += kRow;
    }
    entries += fmt::format(
        "<line x1='{0}' y1='{2}' x2='{1}' y2='{2}' stroke='{3}' stroke-width='2.5' "
        "stroke-dasharray='{4}'/>\n<text x='{5}' y='{6}'>{7}</text>\n",
        x, x + kStroke, y, color, dashes, x + kStroke + 6, y + 5, html_text(label));
    x += width;
  }
  const int whole = legend.empty() ? kTitle + height : y + kRow;
  std::string placed = drawing;
  placed.insert(placed.find("<svg") + 4,
                fmt::format(" x='0' y='{}' width='{}' height='{}'", kTitle, kDrawingWidth, height));
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' "
      "font-family='sans-serif' font-size='13' fill='#333' style='image-rendering:pixelated'>\n"
      "<rect width='{0}' height='{1}' fill='#fff'/>\n"
      "<text x='{2}' y='20' font-size='15' font-weight='600'>{3}</text>\n{4}\n{5}</svg>\n",
      kDrawingWidth, whole, kLeft, html_text(title), placed, entries);
}

}  // namespace vla
