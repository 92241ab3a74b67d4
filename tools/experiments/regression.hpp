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

/// A model in a setting, at the rate of the lowest mean error with the first seed; one at which
/// that has failed or is yet to come is not chosen.
struct RegressionCell {
  std::string setting, model;
  std::string rate = {};  ///< empty: there is none to choose yet
  std::vector<RegressionErrors> seeds = {};
  std::size_t wanted = 0;  ///< seeds that there are to be; without a rate, of all rates
  std::size_t failed = 0;  ///< of those
};

/// In the order of the measurements, those of a cell one after the other.
std::vector<RegressionCell> regression_cells(const std::vector<MeasuredFile>& files);

double mean_of(const std::vector<double>& numbers);

}  // namespace vla
