// Tables read from CSV files, and their numbers; framework/table.hpp writes them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/table.hpp"

namespace vla {

/// Throws Error for a file that cannot be read, is empty, or has rows of different lengths.
Table read_csv(const std::filesystem::path& file);

/// The numbers of a column of the table read from `file`; an empty word is not a number (NaN).
/// Throws Error for a column that it does not have and a word that is no number.
std::vector<double> csv_column(const Table& table, const std::string& name,
                               const std::filesystem::path& file);

/// A number as CSV has it; one that is not finite is an empty word.
std::string csv_number(double number);

}  // namespace vla
