#include "models/vla/penalty_tracker.hpp"

#include <algorithm>
#include <cmath>

#include "framework/diverged.hpp"
#include "models/vla/dense.hpp"

namespace vla {

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

PenaltyTracker::PenaltyTracker(Index width, double lambda0, const double* penalty,
                               const double* inverse, double kept, Index tokens)
    : PenaltyTracker(width, lambda0) {
  std::copy_n(penalty, penalty_.size(), penalty_.data());
  kept_ = kept;
  tokens_ = tokens;
  if (inverse)
    std::copy_n(inverse, inverse_.size(), inverse_.data());
  else
    refresh();
}

void PenaltyTracker::forget(double gamma) {
  if (!(gamma > 0 && gamma <= 1))
    fail_number(gamma, "inverse penalty: forgetting factor ", gamma, " at token ", tokens_,
                "; 0 < gamma <= 1 is needed");
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
  if (!(weight >= 0))
    fail_number(weight, "inverse penalty: weight ", weight, " at token ", tokens_,
                "; 0 or more is needed");
  double* z = scratch_.data();
  apply(u, z);
  double delta = 0;
#pragma omp simd reduction(+ : delta)
  for (Index i = 0; i < width_; ++i) delta += u[i] * z[i];
  delta = 1 + weight * delta;
  check_not_diverged(delta > 0 && std::isfinite(delta), "inverse penalty: the penalty at token ",
                     tokens_, " is not positive definite or not finite");
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
  std::vector<double> spoilt = penalty_, scratch(penalty_.size());
  check(invert(spoilt.data(), width_, inverse_.data(), scratch.data()),
        "inverse penalty: the penalty after token ", tokens_ - 1, " is not positive definite");
}

}  // namespace vla
