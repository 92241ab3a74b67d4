#include "models/vla/inverse_penalty.hpp"

#include <numeric>

#include "framework/parallel.hpp"
#include "models/vla/penalty_tracker.hpp"

namespace vla {
namespace {

struct Sizes {
  Index batch, time, heads;
  Index vectors;     // n: right-hand sides per token
  Index directions;  // r: rank-1 updates per token
  Index width;       // d
};

Sizes checked_sizes(const Var& x, const Penalty& penalty) {
  const Shape& s = x.shape();
  check(s.rank() == 4 || s.rank() == 5, "inverse_penalty: x has shape ", s,
        "; (B, T, H, d) or (B, T, H, n, d) is needed");
  const Shape& u = penalty.directions.shape();
  check((u.rank() == 4 || u.rank() == 5) && u[0] == s[0] && u[1] == s[1] && u[2] == s[2] &&
            u[-1] == s[-1],
        "inverse_penalty: directions ", u, " do not fit x ", s);
  const Sizes n{s[0], s[1], s[2], s.rank() == 5 ? s[3] : 1, u.rank() == 5 ? u[3] : 1, s[-1]};
  if (penalty.weights.defined())
    check(penalty.weights.shape() == u.without(-1), "inverse_penalty: weights ",
          penalty.weights.shape(), " do not fit directions ", u);
  if (penalty.forget.defined())
    check(penalty.forget.shape() == Shape({n.batch, n.time, n.heads}), "inverse_penalty: forget ",
          penalty.forget.shape(), " is not (", n.batch, ", ", n.time, ", ", n.heads, ")");
  check(penalty.lambda0.shape() == Shape({n.heads}), "inverse_penalty: lambda0 ",
        penalty.lambda0.shape(), " is not (", n.heads, ")");
  for (const Var* part : {&penalty.directions, &penalty.weights, &penalty.forget, &penalty.lambda0})
    check(!part->defined() || (part->dtype() == x.dtype() && part->device() == x.device()),
          "inverse_penalty: inputs differ in element type or device");
  check(x.device().is_cpu(), "inverse_penalty: no kernel for device ", x.device());
  return n;
}

// The penalty's parts as plain arrays; a null pointer stands for ones.
template <class T>
struct Arrays {
  Sizes n;
  Index restore_period;
  const T *directions, *weights, *forget, *lambda0;

  Arrays(const Sizes& sizes, Index restore_period, const Tensor& directions, const Tensor& weights,
         const Tensor& forget, const Tensor& lambda0)
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

// Takes a tracker over the tokens of one sequence and head, and calls read(t, tracker) at each,
// where A_t is to be applied.
template <class T, class Read>
PenaltyTracker track(const Arrays<T>& in, Index b, Index h, Read read) {
  const Sizes& n = in.n;
  PenaltyTracker tracker(n.width, in.lambda0[h]);
  std::vector<double> u(static_cast<std::size_t>(n.width));
  for (Index t = 0; t < n.time; ++t) {
    const Index place = in.place(b, t, h);
    if (in.forget) tracker.forget(in.forget[place]);
    for (Index m = 0; m < n.directions; ++m) {
      std::copy_n(in.direction(place, m), n.width, u.data());
      tracker.add(u.data(), in.weight(place, m));
    }
    read(t, tracker);
    tracker.close_token(in.restore_period);
  }
  return tracker;
}

// y_t = A_t x_t for the vectors of all tokens, and the last M (B, H, d, d).
template <class T>
void apply(const Arrays<T>& in, const T* x, T* y, T* penalty) {
  const Sizes& n = in.n;
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    std::vector<double> vector(static_cast<std::size_t>(n.width)), result(vector.size());
    for (Index i = begin; i < end; ++i) {
      const Index b = i / n.heads, h = i % n.heads;
      const PenaltyTracker last = track(in, b, h, [&](Index t, const PenaltyTracker& tracker) {
        for (Index v = 0; v < n.vectors; ++v) {
          const Index at = (in.place(b, t, h) * n.vectors + v) * n.width;
          std::copy_n(x + at, n.width, vector.data());
          tracker.apply(vector.data(), result.data());
          std::ranges::copy(result, y + at);
        }
      });
      std::ranges::copy(last.penalty(), penalty + i * n.width * n.width);
    }
  });
}

template <class A, class B>
double dot(const A* a, const B* b, Index n) {
  return std::inner_product(a, a + n, b, 0.0);
}

template <class T>
struct GradientArrays {
  T *x, *directions, *weights, *forget;  // null where the penalty has no such part
  T* lambda0;                            // (B, H)
};

// sum += h y^T + y h^T.
void add_symmetric_product(double* sum, const double* h, const double* y, Index d) {
  for (Index i = 0; i < d; ++i) {
    double* row = sum + i * d;
    const double h_i = h[i], y_i = y[i];
#pragma omp simd
    for (Index j = 0; j < d; ++j) row[j] += h_i * y[j] + y_i * h[j];
  }
}

// The scalar part of the adjoint, from the last token back: gradients of gamma and lambda0.
//   c: gradient of log gamma carried from later tokens,  tau: gradient of lambda0 likewise.
template <class T>
class ScalarScan {
 public:
  ScalarScan(const Arrays<T>& in, Index b, Index h, T* forget_gradient)
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

  const Arrays<T>& in_;
  Index b_, h_;
  T* forget_gradient_;
  double c_ = 0, tau_ = 0, lambda0_gradient_ = 0;
};

// The adjoint for one sequence and head. With h = A g (g the upstream gradient), which is the
// gradient of x, it is linear in
//   N_s = sum_{t >= s} (gamma_{s+1} ... gamma_t) (h_t y_t^T + y_t h_t^T),
// kept as a running d x d sum: with r_s = -N_s u_s the gradient of u_s is weight r_s and that of
// the weight u_s . r_s / 2. y and h are computed anew, in float64: the gradient of gamma is a
// difference of large sums of their products.
template <class T>
void adjoint(const Arrays<T>& in, Index b, Index h, const T* x, const T* upstream,
             const GradientArrays<T>& out) {
  const Sizes& n = in.n;
  const Index d = n.width, area = n.vectors * d;  // of one token
  std::vector<double> all_y(static_cast<std::size_t>(n.time * area)), all_h(all_y.size());
  std::vector<double> vector(static_cast<std::size_t>(d));
  track(in, b, h, [&](Index t, const PenaltyTracker& tracker) {
    for (Index v = 0; v < n.vectors; ++v) {
      const Index at = in.place(b, t, h) * area + v * d;
      std::copy_n(x + at, d, vector.data());
      tracker.apply(vector.data(), all_y.data() + t * area + v * d);
      std::copy_n(upstream + at, d, vector.data());
      tracker.apply(vector.data(), all_h.data() + t * area + v * d);
    }
  });

  std::vector<double> sum(static_cast<std::size_t>(d * d)), r(static_cast<std::size_t>(d));
  ScalarScan<T> scan(in, b, h, out.forget);
  for (Index t = n.time - 1; t >= 0; --t) {
    const Index place = in.place(b, t, h);
    const double *y = all_y.data() + t * area, *solved = all_h.data() + t * area;
    std::copy_n(solved, area, out.x + place * area);
    for (Index v = 0; v < n.vectors; ++v)
      add_symmetric_product(sum.data(), solved + v * d, y + v * d, d);
    double direction_part = 0;
    for (Index m = 0; m < n.directions; ++m) {
      const T* u = in.direction(place, m);
      const double weight = in.weight(place, m);
      std::ranges::fill(r, 0.0);
      for (Index i = 0; i < d; ++i) {
        const double* row = sum.data() + i * d;
        const double u_i = u[i];
#pragma omp simd
        for (Index j = 0; j < d; ++j) r[static_cast<std::size_t>(j)] -= u_i * row[j];
      }
      T* du = out.directions + (place * n.directions + m) * d;
      for (Index j = 0; j < d; ++j) du[j] = static_cast<T>(weight * r[static_cast<std::size_t>(j)]);
      const double along = dot(u, r.data(), d);
      if (out.weights) out.weights[place * n.directions + m] = static_cast<T>(along / 2);
      direction_part += weight * along;
    }
    scan.token(t, dot(solved, y, area), dot(solved, x + place * area, area), direction_part);
    if (in.forget)
      for (double& element : sum) element *= in.forget[place];
  }
  out.lambda0[b * n.heads + h] = static_cast<T>(scan.lambda0_gradient());
}

Tensor zeros_like(const Tensor& x) {
  return x.defined() ? Tensor::zeros(x.shape(), x.dtype(), x.device()) : Tensor();
}

std::vector<Tensor> gradients(const Sizes& n, Index restore_period, const BackwardContext& at) {
  const Tensor &x = at.saved(0), &u = at.saved(1), &weights = at.saved(2);
  const Tensor &forget = at.saved(3), &lambda0 = at.saved(4);
  Tensor dx = zeros_like(x), du = zeros_like(u), dweights = zeros_like(weights);
  Tensor dforget = zeros_like(forget), dlambda0 = zeros_like(lambda0);
  dispatch_floating(x.dtype(), "inverse_penalty", [&](auto zero) {
    using T = decltype(zero);
    const Arrays<T> in(n, restore_period, u, weights, forget, lambda0);
    Tensor dlambda0_parts = Tensor::zeros({n.batch, n.heads}, x.dtype(), x.device());
    const GradientArrays<T> out{dx.mutable_data<T>(), du.mutable_data<T>(),
                                weights.defined() ? dweights.mutable_data<T>() : nullptr,
                                forget.defined() ? dforget.mutable_data<T>() : nullptr,
                                dlambda0_parts.mutable_data<T>()};
    const T *values = x.data<T>(), *upstream = at.gradient().data<T>();
    parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i)
        adjoint(in, i / n.heads, i % n.heads, values, upstream, out);
    });
    T* sums = dlambda0.mutable_data<T>();
    for (Index i = 0; i < n.batch * n.heads; ++i) sums[i % n.heads] += out.lambda0[i];
  });
  return {dx, du, dweights, dforget, dlambda0};
}

}  // namespace

InversePenaltyResult inverse_penalty(const Var& x, const Penalty& penalty,
                                     InversePenaltyOptions options, CallSite site) {
  const Sizes n = checked_sizes(x, penalty);
  check(options.restore_period >= 0, "inverse_penalty: restore period ", options.restore_period,
        " is negative");
  const auto value = [](const Var& part) { return part.defined() ? part.value() : Tensor(); };
  const Tensor weights = value(penalty.weights), forget = value(penalty.forget);
  Tensor y(x.shape(), x.dtype(), x.device());
  Tensor last({n.batch, n.heads, n.width, n.width}, x.dtype(), x.device());
  dispatch_floating(x.dtype(), "inverse_penalty", [&](auto zero) {
    using T = decltype(zero);
    const Arrays<T> in(n, options.restore_period, penalty.directions.value(), weights, forget,
                       penalty.lambda0.value());
    apply<T>(in, x.value().data<T>(), y.mutable_data<T>(), last.mutable_data<T>());
  });
  const Index restore_period = options.restore_period;
  Var output = record(
      "inverse_penalty", y,
      {x, penalty.directions, penalty.weights, penalty.forget, penalty.lambda0},
      {x.value(), penalty.directions.value(), weights, forget, penalty.lambda0.value()},
      [n, restore_period](const BackwardContext& at) { return gradients(n, restore_period, at); },
      site);
  return {output, last};
}

}  // namespace vla
