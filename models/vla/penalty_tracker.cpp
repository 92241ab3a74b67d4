#include "models/vla/penalty_tracker.hpp"

#include <cmath>

namespace vla {
namespace {

// In place: the lower triangle of the symmetric `matrix` becomes L with L L^T = matrix.
// Returns false if the matrix is not positive definite (or not finite).
bool factorise(std::vector<double>& matrix, Index n) {
  double* l = matrix.data();
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j <= i; ++j) {
      double sum = l[i * n + j];
      for (Index k = 0; k < j; ++k) sum -= l[i * n + k] * l[j * n + k];
      if (i != j) {
        l[i * n + j] = sum / l[j * n + j];
      } else {
        if (!(sum > 0) || !std::isfinite(sum)) return false;
        l[i * n + i] = std::sqrt(sum);
      }
    }
  }
  return true;
}

// A = (L L^T)^-1, column by column by two triangular solves.
void invert_factored(const std::vector<double>& factor, std::vector<double>& inverse,
                     std::vector<double>& column, Index n) {
  const double* l = factor.data();
  for (Index c = 0; c < n; ++c) {
    for (Index i = 0; i < n; ++i) {
      double sum = i == c;
      for (Index k = c; k < i; ++k) sum -= l[i * n + k] * column[static_cast<std::size_t>(k)];
      column[static_cast<std::size_t>(i)] = i < c ? 0.0 : sum / l[i * n + i];
    }
    for (Index i = n - 1; i >= 0; --i) {
      double sum = column[static_cast<std::size_t>(i)];
      for (Index k = i + 1; k < n; ++k) sum -= l[k * n + i] * column[static_cast<std::size_t>(k)];
      column[static_cast<std::size_t>(i)] = sum / l[i * n + i];
      inverse[static_cast<std::size_t>(i * n + c)] = column[static_cast<std::size_t>(i)];
    }
  }
}

}  // namespace

PenaltyTracker::PenaltyTracker(Index width, double lambda0)
    : width_(width),
      lambda0_(lambda0),
      penalty_(static_cast<std::size_t>(width * width)),
      inverse_(penalty_.size()),
      scratch_(static_cast<std::size_t>(width)) {
  check(lambda0 > 0 && std::isfinite(lambda0), "inverse penalty: lambda0 is ", lambda0,
        "; a positive number is needed");
  for (Index i = 0; i < width; ++i) {
    penalty_[static_cast<std::size_t>(i * (width + 1))] = lambda0;
    inverse_[static_cast<std::size_t>(i * (width + 1))] = 1 / lambda0;
  }
}

void PenaltyTracker::forget(double gamma) {
  check(gamma > 0 && gamma <= 1, "inverse penalty: forgetting factor ", gamma, " at token ",
        tokens_, "; 0 < gamma <= 1 is needed");
  kept_ *= gamma;
  const double grown = 1 / gamma;
  double *m = penalty_.data(), *a = inverse_.data();
#pragma omp simd
  for (Index i = 0; i < width_ * width_; ++i) {
    m[i] *= gamma;
    a[i] *= grown;
  }
}

void PenaltyTracker::add(const double* u, double weight) {
  double* z = scratch_.data();
  apply(u, z);
  double delta = 0;
#pragma omp simd reduction(+ : delta)
  for (Index i = 0; i < width_; ++i) delta += u[i] * z[i];
  delta = 1 + weight * delta;
  const double share = weight / delta;
  for (Index i = 0; i < width_; ++i) {
    double *m = penalty_.data() + i * width_, *a = inverse_.data() + i * width_;
    const double m_factor = weight * u[i], a_factor = share * z[i];
#pragma omp simd
    for (Index j = 0; j < width_; ++j) {
      m[j] += m_factor * u[j];
      a[j] -= a_factor * z[j];
    }
  }
}

void PenaltyTracker::close_token(Index restore_period) {
  ++tokens_;
  const bool restores = restore_period > 0 && tokens_ % restore_period == 0;
  if (restores) {
    for (Index i = 0; i < width_; ++i)
      penalty_[static_cast<std::size_t>(i * (width_ + 1))] += (1 - kept_) * lambda0_;
    kept_ = 1;
  }
  if (restores || tokens_ % kRefreshPeriod == 0) refresh();
}

void PenaltyTracker::apply(const double* x, double* y) const {
  for (Index i = 0; i < width_; ++i) y[i] = 0;
  for (Index j = 0; j < width_; ++j) {  // A is symmetric: its rows are its columns
    const double* a = inverse_.data() + j * width_;
    const double x_j = x[j];
#pragma omp simd
    for (Index i = 0; i < width_; ++i) y[i] += x_j * a[i];
  }
}

void PenaltyTracker::refresh() {
  std::vector<double> factor = penalty_;
  check(factorise(factor, width_), "inverse penalty: the penalty after token ", tokens_ - 1,
        " is not positive definite");
  invert_factored(factor, inverse_, scratch_, width_);
}

}  // namespace vla
