#include "tools/csv.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "framework/check.hpp"
#include "framework/file.hpp"

namespace vla {
namespace {

// Takes the word that begins at `at`; afterwards that is where its comma or end of line is.
std::string take_word(const std::string& text, std::size_t& at) {
  std::string word;
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char letter = text[at];
    if (quoted && letter == '"' && at + 1 < text.size() && text[at + 1] == '"') {
      word += text[++at];
    } else if (letter == '"') {
      quoted = !quoted;
    } else if (!quoted && (letter == ',' || letter == '\n')) {
      break;
    } else {
      word += letter;
    }
  }
  return word;
}

std::size_t column_of(const Table& table, const std::string& name,
                      const std::filesystem::path& file) {
  const auto& head = table.front();
  const auto found = std::ranges::find(head, name);
  std::string known;
  for (const std::string& word : head) known += (known.empty() ? "" : ", ") + word;
  check(found != head.end(), file.string(), ": no column '", name, "'; there are: ", known);
  return static_cast<std::size_t>(found - head.begin());
}

double number_of(const std::string& word, const std::filesystem::path& file, std::size_t row) {
  if (word.empty()) return std::nan("");
  char* end = nullptr;
  const double number = std::strtod(word.c_str(), &end);
  check(*end == '\0', file.string(), ", line ", row + 1, ": '", word, "' is not a number");
  return number;
}

}  // namespace

Table read_csv(const std::filesystem::path& file) {
  const std::string text = read_text(file);
  Table table;
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::vector<std::string> row = {take_word(text, at)};
    while (at < text.size() && text[at] == ',') row.push_back(take_word(text, ++at));
    table.push_back(std::move(row));
    check(table.back().size() == table.front().size(), file.string(), ", line ", table.size(), ": ",
          table.back().size(), " words; the head has ", table.front().size());
  }
  check(!table.empty(), file.string(), " is empty; a table with a head is needed");
  return table;
}

std::vector<double> csv_column(const Table& table, const std::string& name,
                               const std::filesystem::path& file) {
  const std::size_t column = column_of(table, name, file);
  std::vector<double> numbers;
  for (std::size_t row = 1; row < table.size(); ++row)
    numbers.push_back(number_of(table[row][column], file, row));
  return numbers;
}

std::string csv_number(double number) {
  return std::isfinite(number) ? fmt::format("{}", number) : "";
}

}  // namespace vla
