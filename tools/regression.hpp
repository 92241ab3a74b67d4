// A model of vectors learns linear regression in context, beside the best there is.
#pragma once

#include <vector>

#include "tasks/regression.hpp"
#include "tools/progress.hpp"
#include "tools/settings.hpp"

namespace vla {

struct RegressionRun {
  RegressionOptions task;
  TrainOptions options;   ///< of which the model and the training count, see is_for_regression
  Index examples = 2000;  ///< sequences to evaluate on
};

/// Whether a regression has this setting of model or training.
bool is_for_regression(std::string_view name);

/// Mean squared errors at each place, T numbers each. Ridge takes the variance of the noise as its
/// penalty, which is the best without drift; the Kalman filter knows the drift too.
struct RegressionErrors {
  std::vector<double> model, ridge, kalman;
};

/// Trains a VectorModel on the mean squared error and evaluates it on other sequences; the same
/// seed gives the same errors. Throws Error for settings that are not allowed, Diverged for a loss
/// that is not finite.
RegressionErrors run_regression(const RegressionRun& run, Progress& progress);

}  // namespace vla
