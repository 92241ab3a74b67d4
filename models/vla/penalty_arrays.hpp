// The inverse penalty on plain arrays: what its step and its chunk form share.
#pragma once

#include "models/vla/inverse_penalty.hpp"

namespace vla {

struct PenaltySizes {
  Index batch, time, heads;
  Index vectors;     // n: right-hand sides per token
  Index directions;  // r: rank-1 updates per token
  Index width;       // d
};

// The penalty's parts as plain arrays; a null pointer stands for ones.
template <class T>
struct PenaltyArrays {
  PenaltySizes n;
  Index restore_period;
  const T *directions, *weights, *forget, *lambda0;

  PenaltyArrays(const PenaltySizes& sizes, Index restore_period, const Tensor& directions,
                const Tensor& weights, const Tensor& forget, const Tensor& lambda0)
      : n(sizes),
        restore_period(restore_period),
        directions(directions.data<T>()),
        weights(weights.defined() ? weights.data<T>() : nullptr),
        forget(forget.defined() ? forget.data<T>() : nullptr),
        lambda0(lambda0.data<T>()) {}

  Index place(Index b, Index t, Index h) const { return (b * n.time + t) * n.heads + h; }
  const T* direction(Index place, Index m) const {
    return directions + (place * n.directions + m) * n.width;
  }
  T weight(Index place, Index m) const {
    return weights ? weights[place * n.directions + m] : T(1);
  }
  T gamma(Index place) const { return forget ? forget[place] : T(1); }
};

/// Where gradients are written; null where the penalty has no such part.
template <class T>
struct PenaltyGradients {
  T *x, *directions, *weights, *forget;
  T* lambda0;  // (B, H)
};

// The scalar part of the adjoint, from the last token back: gradients of gamma and lambda0.
//   c: gradient of log gamma carried from later tokens,  tau: gradient of lambda0 likewise.
template <class T>
class ScalarScan {
 public:
  ScalarScan(const PenaltyArrays<T>& in, Index b, Index h, T* forget_gradient)
      : in_(in), b_(b), h_(h), forget_gradient_(forget_gradient) {}

  // output_part is the sum of h_t . y_t over right-hand sides, value_part that of h_t . x_t,
  // direction_part the sum of weight u . r over directions.
  void token(Index t, double output_part, double value_part, double direction_part) {
    if (in_.restore_period > 0 && (t + 1) % in_.restore_period == 0) restore(t);
    const Index place = in_.place(b_, t, h_);
    const double gamma = in_.gamma(place);
    const double m = c_ - value_part;
    c_ = m - direction_part / 2;
    if (forget_gradient_) forget_gradient_[place] += static_cast<T>(c_ / gamma);
    tau_ = gamma * (tau_ - output_part);
  }
  double lambda0_gradient() const { return lambda0_gradient_ + tau_; }

 private:
  void restore(Index t) {
    const double lambda0 = in_.lambda0[h_];
    double kept = 1;
    for (Index s = t + 1 - in_.restore_period; s <= t; ++s) kept *= in_.gamma(in_.place(b_, s, h_));
    for (Index s = t + 1 - in_.restore_period; s <= t && forget_gradient_; ++s) {
      const Index place = in_.place(b_, s, h_);
      forget_gradient_[place] -= static_cast<T>(lambda0 * tau_ * kept / in_.gamma(place));
    }
    lambda0_gradient_ += (1 - kept) * tau_;
    c_ -= (1 - kept) * lambda0 * tau_;
  }

  const PenaltyArrays<T>& in_;
  Index b_, h_;
  T* forget_gradient_;
  double c_ = 0, tau_ = 0, lambda0_gradient_ = 0;
};

/// y_t = A_t x_t for the vectors of all tokens, x and y (B, T, H, n, d), and the last M (B, H, d,
/// d): token by token from the definition, or chunk by chunk in matrix products.
template <class T>
void apply_by_step(const PenaltyArrays<T>& in, const T* x, T* y, T* penalty);
template <class T>
void apply_by_chunk(const PenaltyArrays<T>& in, const T* x, T* y, T* penalty);

/// All gradients from x and the upstream gradient of y. out.forget and out.lambda0 start at 0.
template <class T>
void adjoint_by_step(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                     const PenaltyGradients<T>& out);
template <class T>
void adjoint_by_chunk(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                      const PenaltyGradients<T>& out);

}  // namespace vla
