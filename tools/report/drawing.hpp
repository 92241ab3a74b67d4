// Scripts of gnuplot that draw figures.
#pragma once

#include "tools/report/figure.hpp"
#include "tools/report/palette.hpp"

namespace vla {

/// Pixels of every drawing, with letters of 14: at 328, the least that a page shows it at, these
/// are still above 9.
inline constexpr int kDrawingWidth = 480, kLineHeightOfDrawing = 330, kMapHeightOfDrawing = 370;

/// How the lines of a figure look, in their order; two of one model differ in their dashes.
std::vector<LineStyle> styles_of(const LineFigure& figure, Palette& palette);

/// Whether there is a number in it.
bool has_numbers(const LineFigure& figure);

std::string script_of(const LineFigure& figure, const std::vector<LineStyle>& styles);
std::string script_of(const HeatMap& map);

}  // namespace vla
