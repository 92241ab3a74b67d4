// A figure as a file of its own, for documents that are not pages of ours.
#pragma once

#include <string>
#include <vector>

#include "tools/report/figure.hpp"
#include "tools/report/palette.hpp"

namespace vla {

/// An entry of a legend.
struct LegendEntry {
  std::string label, color, dashes;
};

/// Of the curves and guides that have points, in their order; none where there is one alone, which
/// the title names.
std::vector<LegendEntry> legend_of(const LineFigure& figure, const std::vector<LineStyle>& styles);

/// An SVG document on white: the title, a drawing (an element <svg> of kDrawingWidth x height, as
/// Gnuplot makes it) and its legend below.
std::string picture_of(const std::string& drawing, int height, const std::string& title,
                       const std::vector<LegendEntry>& legend);

}  // namespace vla
