#include "tools/report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "framework/file.hpp"
#include "tools/experiments/table.hpp"
#include "tools/report/drawing.hpp"

namespace vla {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 900px; padding: 24px 16px 64px; background: #fff; color: #222;
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 48px 0 8px; padding-top: 16px;
  border-top: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin: 28px 0 4px; }
p { margin: 8px 0; max-width: 70ch; }
code { font: 0.85em/1.5 ui-monospace, Menlo, Consolas, monospace; background: #f4f4f4;
  padding: 1px 4px; border-radius: 3px; }
.scroll { overflow-x: auto; margin: 16px 0; }
table { border-collapse: collapse; font-size: 0.8rem; font-variant-numeric: tabular-nums;
  white-space: nowrap; overflow-wrap: normal; }
th, td { padding: 4px 10px 4px 0; text-align: left; border-bottom: 1px solid #e5e5e5; }
th { font-weight: 600; border-bottom-color: #888; }
.number { text-align: right; }
summary { cursor: pointer; color: #0b5cad; margin: 12px 0; }
.figures { display: grid; align-items: start; gap: 32px 20px; margin: 20px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { fill: #333; }
figure svg image { image-rendering: pixelated; }
.name { font-weight: 600; font-size: 0.95rem; margin-bottom: 4px; }
figcaption { font-size: 0.85rem; color: #555; margin-top: 6px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; margin: 4px 0;
  padding: 0; font-size: 0.85rem; color: #222; }
.legend svg { display: inline-block; width: 28px; height: 10px; margin-right: 6px; }
a { color: #0b5cad; }
)";

constexpr std::size_t kLongTable = 25;  // of more rows it is shown on demand

// What stands between two backquotes is code.
std::string text_with_code(const std::string& text) {
  std::string html = html_text(text);
  for (std::size_t open = 0; (open = html.find('`', open)) != std::string::npos;) {
    const std::size_t close = html.find('`', open + 1);
    if (close == std::string::npos) break;
    html.replace(close, 1, "</code>");
    html.replace(open, 1, "<code>");
    open = close;
  }
  return html;
}

std::string legend_html(const std::vector<LegendEntry>& legend) {
  if (legend.empty()) return "";
  std::string items;
  for (const auto& [label, color, dashes] : legend)
    items += fmt::format(
        "<li><svg viewBox='0 0 28 10' aria-hidden='true'><line x1='0' y1='5' x2='28' y2='5' "
        "stroke='{}' stroke-width='2.5' stroke-dasharray='{}'/></svg>{}</li>",
        color, dashes, html_text(label));
  return "<ul class='legend'>" + items + "</ul>\n";
}

}  // namespace

std::string html_text(const std::string& text) {
  std::string escaped;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += letter;
    }
  }
  return escaped;
}

Page::Page(std::filesystem::path folder)
    : folder_((make_folder(folder), std::move(folder))), gnuplot_(folder_) {}

void Page::title(const std::string& text) {
  title_ = text;
  body_ += "<h1>" + html_text(text) + "</h1>\n";
}

void Page::section(const std::string& title) {
  close_figures();
  body_ += "<h2>" + html_text(title) + "</h2>\n";
}

void Page::subsection(const std::string& title) {
  close_figures();
  body_ += "<h3>" + html_text(title) + "</h3>\n";
}

void Page::paragraph(const std::string& text) {
  close_figures();
  body_ += "<p>" + text_with_code(text) + "</p>\n";
}

void Page::table(const Table& table) {
  close_figures();
  const std::vector<bool> numbers = number_columns(table);
  const bool folded = table.size() > kLongTable;
  if (folded)
    body_ += fmt::format("<details><summary>Table of {} rows</summary>\n", table.size() - 1);
  body_ += "<div class='scroll' tabindex='0'><table>\n";
  for (std::size_t row = 0; row < table.size(); ++row) {
    const char* cell = row == 0 ? "th" : "td";
    body_ += "<tr>";
    for (std::size_t i = 0; i < table[row].size(); ++i)
      body_ += fmt::format("<{0}{1}>{2}</{0}>", cell, numbers[i] ? " class='number'" : "",
                           html_text(table[row][i]));
    body_ += "</tr>\n";
  }
  body_ += "</table></div>\n";
  if (folded) body_ += "</details>\n";
}

void Page::figure(LineFigure figure) {
  limit_lines(figure);
  if (!has_numbers(figure)) return;
  const std::string name = next_name(figure.title);
  const std::vector<LineStyle> styles = styles_of(figure, palette_);
  write_text(folder_ / (name + ".csv"), csv_text(table_of(figure)));
  add_figure(
      {.name = name,
       .svg = gnuplot_.svg(script_of(figure, styles), name, kDrawingWidth, kLineHeightOfDrawing),
       .height = kLineHeightOfDrawing,
       .title = figure.title,
       .legend = legend_of(figure, styles),
       .caption = figure.caption});
}

void Page::figure(const HeatMap& map) {
  const std::string name = next_name(map.title);
  write_text(folder_ / (name + ".csv"), csv_text(table_of(map)));
  add_figure({.name = name,
              .svg = gnuplot_.svg(script_of(map), name, kDrawingWidth, kMapHeightOfDrawing),
              .height = kMapHeightOfDrawing,
              .title = map.title,
              .legend = {},
              .caption = map.caption});
}

std::string Page::next_name(const std::string& title) {
  constexpr std::size_t kLongest = 60;
  std::string words;
  for (const char letter : title) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < 128 && std::isalnum(byte) != 0)
      words += static_cast<char>(std::tolower(byte));
    else if (!words.empty() && words.back() != '-')
      words += '-';
  }
  words = words.substr(0, kLongest);
  if (words.ends_with('-')) words.pop_back();
  return fmt::format("{:02}-{}", ++figures_, words);
}

void Page::add_figure(const Drawn& drawn) {
  const auto& [name, svg, height, title, legend, caption] = drawn;
  write_text(folder_ / (name + ".svg"), picture_of(svg, height, title, legend));
  if (!among_figures_) body_ += "<div class='figures'>\n";
  among_figures_ = true;
  body_ += fmt::format(
      "<figure>\n<div class='name'>{0}</div>\n<div role='img' aria-label='{0}'>\n{1}</div>\n"
      "{2}<figcaption>{3} <a href='{4}.csv'>Data</a></figcaption>\n</figure>\n",
      html_text(title), svg, legend_html(legend), html_text(caption), name);
}

void Page::close_figures() {
  if (among_figures_) body_ += "</div>\n";
  among_figures_ = false;
}

void Page::write() const {
  write_text(file(),
             fmt::format("<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
                         "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
                         "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n{}{}</body>\n"
                         "</html>\n",
                         html_text(title_), kStyle, body_, among_figures_ ? "</div>\n" : ""));
}

}  // namespace vla
