// What came of linear regression in context.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/experiments/experiment.hpp"
#include "tools/regression.hpp"

namespace vla {

/// What `vla regression --out` has written. Throws Error for another file.
RegressionErrors read_regression(const std::filesystem::path& file);

/// A model in a setting, at the rate of the lowest mean error with the first seed that there is.
struct RegressionCell {
  std::string setting, model;
  std::string rate = {};  ///< empty: nothing is there yet
  std::vector<RegressionErrors> seeds = {};
  std::size_t wanted = 0;  ///< seeds that there are to be
};

/// In the order of the measurements, those of a cell one after the other.
std::vector<RegressionCell> regression_cells(const std::vector<MeasuredFile>& files);

double mean_of(const std::vector<double>& numbers);

}  // namespace vla
