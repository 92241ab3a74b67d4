// The penalty M_t and its inverse A_t along one sequence, one token after the other.
#pragma once

#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// Keeps M and A = M^-1 for one sequence and head of width d:
///
///   M_0 = lambda0 I,   M_t = gamma_t M_{t-1} + sum_m weight_m u_m u_m^T
///
/// A follows by Sherman-Morrison updates, O(d^2) each. They gather rounding error, so A is formed
/// anew from M, by Cholesky factorisation, every kRefreshPeriod tokens. The state is float64
/// whatever the inputs are: with forgetting M becomes ill-conditioned, and A amplifies rounding by
/// its condition number.
class PenaltyTracker {
 public:
  /// Tokens between two factorisations.
  static constexpr Index kRefreshPeriod = 64;

  PenaltyTracker(Index width, double lambda0);
  /// Goes on where another tracker was left: M and A (d, d), b, and its count of tokens. A null A
  /// is formed from M.
  PenaltyTracker(Index width, double lambda0, const double* penalty, const double* inverse,
                 double kept, Index tokens);

  /// Opens a token: the whole past is multiplied by gamma, 0 < gamma <= 1.
  void forget(double gamma);
  /// M += weight u u^T and the Sherman-Morrison step of A. weight >= 0; u has `width`
  /// elements.
  void add(const double* u, double weight);
  /// Ends a token after its read-outs. Every `restore_period` tokens (0: never) the share of
  /// lambda0 I that was forgotten since the last time is given back: M += (1 - b) lambda0 I.
  /// Throws Error when M is not positive definite.
  void close_token(Index restore_period);
  /// y = A x.
  void apply(const double* x, double* y) const;

  const std::vector<double>& penalty() const { return penalty_; }  // M (d, d)
  const std::vector<double>& inverse() const { return inverse_; }  // A (d, d)
  double kept() const { return kept_; }  // b, the product of gamma since the last restoration

 private:
  void refresh();

  Index width_;
  double lambda0_;
  double kept_ = 1;
  Index tokens_ = 0;
  std::vector<double> penalty_, inverse_, scratch_;
};

}  // namespace vla
