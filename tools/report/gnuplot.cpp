#include "tools/report/gnuplot.hpp"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <sstream>

#include "framework/check.hpp"
#include "framework/file.hpp"
#include "tools/children.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

constexpr auto kLongest = std::chrono::seconds(60);
constexpr const char* kRemedy = "tools/setup installs it (Debian's gnuplot-nox)";

std::string last_line(const std::string& text) {
  std::string last = "no reason given";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.find_first_not_of(" \t^") != std::string::npos) last = line;
  return last;
}

void remove_between(std::string& text, const std::string& begin, const std::string& end) {
  for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
    const std::size_t to = text.find(end, at);
    if (to == std::string::npos) return;
    text.erase(at, to + end.size() - at);
  }
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

// The element alone. Several may stand on one page, so that names are told apart; titles would be
// shown by browsers.
std::string element(std::string svg, const std::string& name) {
  svg.erase(0, std::min(svg.find("<svg"), svg.size()));
  remove_between(svg, "<title>", "</title>");
  remove_between(svg, "<desc>", "</desc>");
  for (const char quote : {'\'', '"'})
    replace_all(svg, fmt::format("id={}", quote), fmt::format("id={}{}-", quote, name));
  replace_all(svg, "href='#", "href='#" + name + "-");
  return svg;
}

}  // namespace

Gnuplot::Gnuplot(const fs::path& folder) {
  std::string name = (folder / ".gnuplot-XXXXXX").string();
  check(::mkdtemp(name.data()) != nullptr, "cannot make the directory ", name, ": ",
        std::strerror(errno));
  folder_ = name;
  try {
    run("");
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    throw;
  }
}

Gnuplot::~Gnuplot() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Gnuplot::run(const std::string& script) const {
  const fs::path file = folder_ / "script", log = folder_ / "log";
  write_text(file, script);
  std::error_code ignored;
  fs::remove(log, ignored);
  const ToolEnd end = run_tool({"gnuplot", "--default-settings", file.string()}, log, kLongest);
  check(end != ToolEnd::late, "report: gnuplot did not end within ", kLongest.count(), " s");
  check(end != ToolEnd::missing, "report: the program gnuplot, which draws, is missing; ", kRemedy);
  if (end == ToolEnd::failed)
    fail("report: gnuplot failed: ", last_line(read_text(log)), "; ", kRemedy);
}

std::string Gnuplot::svg(const std::string& script, const std::string& name, int width,
                         int height) const {
  const fs::path drawn = folder_ / "drawn.svg";
  std::error_code ignored;
  fs::remove(drawn, ignored);
  run(
      fmt::format("set encoding utf8\nset terminal svg size {},{} dynamic noenhanced "
                  "font 'sans-serif,14'\nset output {}\n{}\nunset output\n",
                  width, height, gnuplot_text(drawn.string()), script));
  check(fs::exists(drawn), "report: gnuplot has drawn nothing; ", kRemedy);
  return element(read_text(drawn), name);
}

std::string gnuplot_text(const std::string& text) {
  std::string word = "'";
  for (const char letter : text)
    word += letter == '\'' ? "''" : std::string(1, letter == '\n' || letter == '\r' ? ' ' : letter);
  return word + "'";
}

}  // namespace vla
