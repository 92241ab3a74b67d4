#include "framework/table.hpp"

#include <algorithm>
#include <cstdio>

namespace vla {
namespace {

std::string quoted_if_needed(const std::string& word) {
  if (word.find_first_of(",\"\r\n") == std::string::npos) return word;
  std::string text(1, '"');
  for (const char letter : word) {
    if (letter == '"') text += letter;
    text += letter;
  }
  text += '"';
  return text;
}

}  // namespace

std::string aligned(const Table& table, const std::vector<bool>& to_the_right) {
  std::vector<std::size_t> widths(table.front().size(), 0);
  for (const auto& row : table)
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : table) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      line += (to_the_right[i] ? space + row[i] : row[i] + space) + "  ";
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string csv_text(const Table& table) {
  std::string text;
  for (const auto& row : table) {
    for (std::size_t i = 0; i < row.size(); ++i)
      text.append(i > 0 ? "," : "").append(quoted_if_needed(row[i]));
    text += "\n";
  }
  return text;
}

std::string rounded(double number, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, number);
  return text;
}

}  // namespace vla
