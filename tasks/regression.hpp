// Linear regression in context: pairs (x, y) come one after the other, and y is to be foretold.
#pragma once

#include <vector>

#include "framework/random.hpp"
#include "framework/tensor.hpp"

namespace vla {

/// Settings of Regression.
struct RegressionOptions {
  Index dimensions = 8;  ///< d, of x
  Index points = 24;     ///< T, pairs in a sequence
  double noise = 0;      ///< standard deviation of what is added to y
  double drift = 0;      ///< q, share of w that is drawn anew at every point; 0: w stays
};

/// Sequences of pairs: x (B, T, d) and y (B, T), both float64 on the CPU.
struct RegressionBatch {
  Tensor x, y;
  /// What a model is given at place t: x_t and y_{t-1} side by side, (B, T, d + 1); y_0 is 0.
  Tensor inputs() const;
};

/// y_t = w_t . x_t + noise, x_t normal with variance 1/d, w_1 normal with variance 1, and
/// w_{t+1} = sqrt(1 - q) w_t + sqrt(q) n with n as w_1. An answer of 0 has a mean squared error of
/// 1 + noise^2, the best one noise^2 or more. After Garg et al., "What can transformers learn
/// in-context?", whose x are sqrt(d) times as long: their errors are divided by d.
class Regression {
 public:
  /// Throws Error for settings that are not allowed.
  explicit Regression(const RegressionOptions& options = {});
  /// `size` sequences, a pure function of the state of `rng`. Throws Error for a negative size.
  RegressionBatch sample(Index size, Rng& rng) const;
  /// What it was made from.
  const RegressionOptions& options() const { return options_; }

 private:
  RegressionOptions options_;
};

/// Foretold y (B, T) of ridge regression: at place t, w minimises the sum of (y_s - w . x_s)^2 over
/// s < t plus `penalty` |w|^2. Throws Error unless the penalty is above 0.
Tensor ridge_predictions(const RegressionBatch& batch, double penalty);

/// Foretold y (B, T) of the Kalman filter that knows noise and drift: the expected y_t given all
/// earlier pairs and x_t, of which no other answer has a lower mean squared error. A noise below
/// kLeastNoise counts as that.
Tensor kalman_predictions(const RegressionBatch& batch, const RegressionOptions& options);
inline constexpr double kLeastNoise = 1e-4;

/// At every place the mean squared difference over the sequences, T numbers; both (B, T), B above
/// 0, of a floating type. Throws Error for shapes that differ.
std::vector<double> mean_squared_errors(const Tensor& predictions, const Tensor& y);

}  // namespace vla
