#include "tasks/regression.hpp"

#include <algorithm>
#include <cmath>

#include "models/vla/dense.hpp"
#include "tasks/task.hpp"

namespace vla {
namespace {

constexpr Index kMostDimensions = 1024, kMostPoints = Index{1} << 20;

// The pairs of one sequence.
struct Pairs {
  const double *x, *y;
  Index points, dimensions;
  std::span<const double> at(Index t) const {
    return {x + t * dimensions, static_cast<std::size_t>(dimensions)};
  }
};

// (B, T), each sequence filled in by `foretell(pairs, into)`.
template <class Foretell>
Tensor for_each_sequence(const RegressionBatch& batch, const Foretell& foretell) {
  check(batch.x.rank() == 3 && batch.x.shape().without(-1) == batch.y.shape(),
        "regression: x of shape ", batch.x.shape(), " does not fit y of shape ", batch.y.shape(),
        "; expected (B, T, d) and (B, T)");
  Tensor result = zeros_like(batch.y);
  const Index points = batch.x.size(1), dimensions = batch.x.size(2);
  for (Index b = 0; b < batch.x.size(0); ++b)
    foretell(Pairs{batch.x.data<double>() + b * points * dimensions,
                   batch.y.data<double>() + b * points, points, dimensions},
             result.mutable_data<double>() + b * points);
  return result;
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

Tensor RegressionBatch::inputs() const {
  const Index size = x.size(0), points = x.size(1), dimensions = x.size(2);
  Tensor result({size, points, dimensions + 1}, DType::float64);
  double* into = result.mutable_data<double>();
  for (Index place = 0; place < size * points; ++place, into += dimensions + 1) {
    std::copy_n(x.data<double>() + place * dimensions, dimensions, into);
    into[dimensions] = place % points == 0 ? 0 : y.data<double>()[place - 1];
  }
  return result;
}

Regression::Regression(const RegressionOptions& options) : options_(options) {
  check_task_setting("regression", "dimensions", options.dimensions, 1, kMostDimensions);
  check_task_setting("regression", "points", options.points, 1, kMostPoints);
  check(std::isfinite(options.noise) && options.noise >= 0, "regression: noise ", options.noise,
        " is not allowed; 0 or more");
  check(options.drift >= 0 && options.drift <= 1, "regression: drift ", options.drift,
        " is not allowed; 0 to 1");
}

RegressionBatch Regression::sample(Index size, Rng& rng) const {
  check(size >= 0, "regression: a batch of ", size, " sequences is not allowed; 0 or more");
  const auto& [dimensions, points, noise, drift] = options_;
  RegressionBatch batch{Tensor({size, points, dimensions}, DType::float64),
                        Tensor({size, points}, DType::float64)};
  double* x = batch.x.mutable_data<double>();
  double* y = batch.y.mutable_data<double>();
  const double deviation = 1 / std::sqrt(static_cast<double>(dimensions));
  std::vector<double> w(static_cast<std::size_t>(dimensions));
  for (Index place = 0; place < size * points; ++place, x += dimensions) {
    if (place % points == 0)
      for (double& weight : w) weight = rng.normal();
    else if (drift > 0)
      for (double& weight : w)
        weight = std::sqrt(1 - drift) * weight + std::sqrt(drift) * rng.normal();
    const std::span row(x, w.size());
    for (double& value : row) value = deviation * rng.normal();
    y[place] = dot(w, row) + (noise > 0 ? noise * rng.normal() : 0);
  }
  return batch;
}

Tensor ridge_predictions(const RegressionBatch& batch, double penalty) {
  check(std::isfinite(penalty) && penalty > 0, "regression: ridge penalty ", penalty,
        " is not allowed; above 0");
  return for_each_sequence(batch, [&](const Pairs& pairs, double* predictions) {
    const Index d = pairs.dimensions;
    const auto size = static_cast<std::size_t>(d);
    std::vector<double> gram(size * size), sums(size), factor, sides(2 * size);
    for (Index i = 0; i < d; ++i) gram[static_cast<std::size_t>(i * d + i)] = penalty;
    for (Index t = 0; t < pairs.points; ++t) {
      const std::span<const double> x = pairs.at(t);
      // With R^T R the sum of x x^T plus the penalty, w . x is (R^-T sums) . (R^-T x).
      factor = gram;
      check(cholesky(factor.data(), d), "regression: ridge penalty ", penalty,
            " is too small beside the pairs before place ", t);
      for (std::size_t i = 0; i < size; ++i) {
        sides[2 * i] = sums[i];
        sides[2 * i + 1] = x[i];
      }
      solve_transposed(factor.data(), d, sides.data(), 2);
      for (std::size_t i = 0; i < size; ++i) predictions[t] += sides[2 * i] * sides[2 * i + 1];
      for (std::size_t i = 0; i < size; ++i) {
        for (std::size_t j = 0; j < size; ++j) gram[i * size + j] += x[i] * x[j];
        sums[i] += x[i] * pairs.y[t];
      }
    }
  });
}

Tensor kalman_predictions(const RegressionBatch& batch, const RegressionOptions& options) {
  const double noise = std::max(options.noise, kLeastNoise), kept = 1 - options.drift;
  return for_each_sequence(batch, [&](const Pairs& pairs, double* predictions) {
    const auto size = static_cast<std::size_t>(pairs.dimensions);
    // Mean and covariance of w before the pair at t.
    std::vector<double> mean(size), covariance(size * size), spread(size);
    for (std::size_t i = 0; i < size; ++i) covariance[i * size + i] = 1;
    for (Index t = 0; t < pairs.points; ++t) {
      const std::span<const double> x = pairs.at(t);
      predictions[t] = dot(mean, x);
      for (std::size_t i = 0; i < size; ++i)
        spread[i] = dot(std::span(covariance).subspan(i * size, size), x);
      const double variance = dot(spread, x) + noise * noise;  // of y
      const double surprise = (pairs.y[t] - predictions[t]) / variance;
      for (std::size_t i = 0; i < size; ++i) {
        mean[i] = std::sqrt(kept) * (mean[i] + spread[i] * surprise);
        for (std::size_t j = 0; j < size; ++j) {
          double& entry = covariance[i * size + j];
          entry = kept * (entry - spread[i] * spread[j] / variance) + (i == j ? options.drift : 0);
        }
      }
    }
  });
}

std::vector<double> mean_squared_errors(const Tensor& predictions, const Tensor& y) {
  check(predictions.rank() == 2 && predictions.shape() == y.shape() && predictions.size(0) > 0,
        "regression: predictions of shape ", predictions.shape(), " for y of shape ", y.shape(),
        "; expected the same (B, T), B above 0");
  const Tensor foretold = predictions.to(Device{}).to(DType::float64);
  const Tensor wanted = y.to(Device{}).to(DType::float64);
  const Index size = y.size(0), points = y.size(1);
  std::vector<double> errors(static_cast<std::size_t>(points));
  for (Index place = 0; place < size * points; ++place) {
    const double error = foretold.data<double>()[place] - wanted.data<double>()[place];
    errors[static_cast<std::size_t>(place % points)] += error * error / static_cast<double>(size);
  }
  return errors;
}

}  // namespace vla
