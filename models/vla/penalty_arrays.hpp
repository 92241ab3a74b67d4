// The inverse penalty on plain arrays: what its step and its chunk form gain.
#pragma once

#include <algorithm>

#include "framework/diverged.hpp"
#include "framework/host_device.hpp"
#include "models/vla/inverse_penalty.hpp"

namespace vla {

struct PenaltySizes {
  Index batch, time, heads;
  Index vectors;  // n: right-hand sides per token
  Index rank;     // r: rank-1 updates per token
  Index width;    // d
};

// The penalty's parts as plain arrays; a null pointer stands for ones.
template <class T>
struct PenaltyArrays {
  PenaltySizes n;
  Index restore_period, chunk;
  const T *directions, *weights, *forget, *lambda0;
  // The state at the start; null at the beginning of a sequence, where M is lambda0 I.
  const double *initial_penalty, *initial_inverse, *initial_kept;
  Index tokens_before;

  PenaltyArrays(const PenaltySizes& sizes, const InversePenaltyOptions& options,
                const Tensor& directions, const Tensor& weights, const Tensor& forget,
                const Tensor& lambda0)
      : n(sizes),
        restore_period(options.restore_period),
        chunk(options.chunk),
        directions(directions.data<T>()),
        weights(data_or_null<T>(weights)),
        forget(data_or_null<T>(forget)),
        lambda0(lambda0.data<T>()),
        initial_penalty(data_or_null<double>(options.initial.penalty)),
        initial_inverse(data_or_null<double>(options.initial.inverse)),
        initial_kept(data_or_null<double>(options.initial.kept)),
        tokens_before(options.initial.tokens) {}

  VLA_HOST_DEVICE Index place(Index b, Index t, Index h) const {
    return (b * n.time + t) * n.heads + h;
  }
  VLA_HOST_DEVICE const T* direction(Index place, Index m) const {
    return directions + (place * n.rank + m) * n.width;
  }
  VLA_HOST_DEVICE T weight(Index place, Index m) const {
    return weights ? weights[place * n.rank + m] : T(1);
  }
  VLA_HOST_DEVICE T gamma(Index place) const { return forget ? forget[place] : T(1); }
  /// Whether the regulariser is restored after token t.
  VLA_HOST_DEVICE bool restores_after(Index t) const {
    return restore_period > 0 && (tokens_before + t + 1) % restore_period == 0;
  }
};

/// Throws Diverged, naming the place, unless the n elements at `x` are finite.
template <class T>
void check_finite(const T* x, Index n, const char* what, Index b, Index h, Index token) {
  T zero = 0;  // becomes NaN
#pragma omp simd reduction(+ : zero)
  for (Index i = 0; i < n; ++i) zero += 0 * x[i];
  check_not_diverged(zero == 0, "inverse penalty: ", what, " of sequence ", b, ", head ", h,
                     " at token ", token, " is not finite");
}

/// Throws Error, naming the place, for a gamma outside (0, 1] or a weight below 0; Diverged for
/// either, or a direction, that is not finite.
template <class T>
void check_token(const PenaltyArrays<T>& in, Index b, Index t, Index h) {
  const Index place = in.place(b, t, h);
  const T gamma = in.gamma(place);
  if (!(gamma > 0 && gamma <= 1))
    fail_number(gamma, "inverse penalty: forgetting factor ", gamma, " of sequence ", b, ", head ",
                h, " at token ", t, "; 0 < gamma <= 1 is needed");
  for (Index m = 0; m < in.n.rank; ++m) {
    const T weight = in.weight(place, m);
    if (!(weight >= 0))
      fail_number(weight, "inverse penalty: weight ", weight, " of sequence ", b, ", head ", h,
                  " at token ", t, "; 0 or more is needed");
    check_finite(in.direction(place, m), in.n.width, "the direction", b, h, t);
  }
}

/// Where the state after the last token is written; `inverse` may be null.
struct PenaltyStateArrays {
  double *penalty, *inverse, *kept;
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
  VLA_HOST_DEVICE ScalarScan(const PenaltyArrays<T>& in, Index b, Index h, T* forget_gradient)
      : in_(in), b_(b), h_(h), forget_gradient_(forget_gradient) {}

  // output_part is the sum of h_t . y_t over right-hand sides, value_part that of h_t . x_t,
  // direction_part the sum of weight u . r over directions.
  VLA_HOST_DEVICE void token(Index t, double output_part, double value_part,
                             double direction_part) {
    if (in_.restores_after(t)) restore(t);
    const Index place = in_.place(b_, t, h_);
    const double gamma = in_.gamma(place);
    const double m = c_ - value_part;
    c_ = m - direction_part / 2;
    if (forget_gradient_) forget_gradient_[place] += static_cast<T>(c_ / gamma);
    tau_ = gamma * (tau_ - output_part);
  }
  VLA_HOST_DEVICE double lambda0_gradient() const {
    return lambda0_gradient_ + (in_.initial_penalty ? 0 : tau_);  // a given M is a constant
  }

 private:
  VLA_HOST_DEVICE void restore(Index t) {
    const double lambda0 = in_.lambda0[h_];
    // The window may have begun before the first token.
    const Index first = t + 1 > in_.restore_period ? t + 1 - in_.restore_period : 0;
    const bool carried = in_.initial_kept && t + 1 <= in_.restore_period;
    double kept = carried ? in_.initial_kept[b_ * in_.n.heads + h_] : 1;
    for (Index s = first; s <= t; ++s) kept *= in_.gamma(in_.place(b_, s, h_));
    for (Index s = first; s <= t && forget_gradient_; ++s) {
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

/// What the chunk form leaves for its adjoint: z of every direction (rows, D), D the padded d, its
/// gain f = weight / delta (rows), and A where each segment begins (segments, D, D).
struct PenaltyFactors {
  Tensor z, gains, starts;
};

/// y_t = A_t x_t for the vectors of all tokens, x and y (B, T, H, n, d), and the state after the
/// last: token by token from the definition, or chunk by chunk in matrix products. `factors` may
/// be null.
template <class T>
void apply_by_step(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last);
template <class T>
void apply_by_chunk(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last,
                    PenaltyFactors* factors);

/// All gradients from x, y and the upstream gradient of y. out.forget and out.lambda0 start at 0.
template <class T>
void adjoint_by_step(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                     const PenaltyGradients<T>& out);
template <class T>
void adjoint_by_chunk(const PenaltyArrays<T>& in, const T* x, const T* y, const T* upstream,
                      const PenaltyFactors& factors, const PenaltyGradients<T>& out);

}  // namespace vla
