// Tables of words, for people and as CSV.
#pragma once

#include <string>
#include <vector>

namespace vla {

/// Rows of words, the head first; all of one length.
using Table = std::vector<std::vector<std::string>>;

/// Columns as wide as their widest word, with two spaces between; those of `to_the_right` end
/// where their head does.
std::string aligned(const Table& table, const std::vector<bool>& to_the_right);

/// Words with commas, quotes or ends of lines are quoted.
std::string csv_text(const Table& table);

/// A number in so many significant digits: "0.0123", "4.5e+20", "nan".
std::string rounded(double number, int digits = 3);

}  // namespace vla
