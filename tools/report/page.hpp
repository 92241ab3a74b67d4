// A page of HTML that needs nothing but itself, and the data of its figures beside it.
#pragma once

#include <filesystem>
#include <string>

#include "tools/report/figure.hpp"
#include "tools/report/gnuplot.hpp"
#include "tools/report/palette.hpp"
#include "tools/report/picture.hpp"

namespace vla {

/// Text goes in as it is; what HTML would take for its own is escaped here.
class Page {
 public:
  /// Makes the folder. Throws Error if that fails, or gnuplot is missing.
  explicit Page(std::filesystem::path folder);

  void title(const std::string& text);
  void section(const std::string& title);
  void subsection(const std::string& title);
  /// Words between backquotes are code.
  void paragraph(const std::string& text);
  /// A long one is shown on demand.
  void table(const Table& table);
  /// Draws a figure and writes its data to NUMBER-TITLE.csv, and itself with its legend to
  /// NUMBER-TITLE.svg; nothing if it has no number.
  void figure(LineFigure figure);
  void figure(const HeatMap& map);

  /// Writes index.html.
  void write() const;
  std::filesystem::path file() const { return folder_ / "index.html"; }

 private:
  struct Drawn {
    std::string name, svg;
    int height;
    std::string title;
    std::vector<LegendEntry> legend;
    std::string caption;
  };

  std::string next_name(const std::string& title);
  void add_figure(const Drawn& drawn);
  void close_figures();

  std::filesystem::path folder_;
  Gnuplot gnuplot_;
  Palette palette_;
  std::string title_ = "vla report", body_;
  bool among_figures_ = false;
  int figures_ = 0;
};

/// A text with what HTML would take for its own escaped, also for attributes.
std::string html_text(const std::string& text);

}  // namespace vla
