// The inverse penalty token by token, from the definition: the specification.

#include "framework/parallel.hpp"
#include "models/small_matrix.hpp"
#include "models/vla/penalty_arrays.hpp"
#include "models/vla/penalty_tracker.hpp"

namespace vla {
namespace {

template <class T>
PenaltyTracker tracker_at_start(const PenaltyArrays<T>& in, Index b, Index h) {
  const Index d = in.n.width, head = b * in.n.heads + h;
  if (!in.initial_penalty) return PenaltyTracker(d, in.lambda0[h]);
  return PenaltyTracker(d, in.lambda0[h], in.initial_penalty + head * d * d,
                        in.initial_inverse ? in.initial_inverse + head * d * d : nullptr,
                        in.initial_kept[head], in.tokens_before);
}

// Takes a tracker over the tokens of one sequence and head, and calls read(t, tracker) at each,
// where A_t is to be applied.
template <class T, class Read>
PenaltyTracker track(const PenaltyArrays<T>& in, Index b, Index h, Read read) {
  const PenaltySizes& n = in.n;
  PenaltyTracker tracker = tracker_at_start(in, b, h);
  std::vector<double> u(static_cast<std::size_t>(n.width));
  for (Index t = 0; t < n.time; ++t) {
    const Index place = in.place(b, t, h);
    check_token(in, b, t, h);
    if (in.forget) tracker.forget(in.forget[place]);
    for (Index m = 0; m < n.rank; ++m) {
      std::copy_n(in.direction(place, m), n.width, u.data());
      tracker.add(u.data(), in.weight(place, m));
    }
    read(t, tracker);
    tracker.close_token(in.restore_period);
  }
  return tracker;
}

// sum += h y^T + y h^T.
void add_symmetric_product(double* sum, const double* h, const double* y, Index d) {
  for (Index i = 0; i < d; ++i) {
    double* row = sum + i * d;
    const double h_i = h[i], y_i = y[i];
#pragma omp simd
    for (Index j = 0; j < d; ++j) row[j] += h_i * y[j] + y_i * h[j];
  }
}

// The adjoint for one sequence and head. With h = A g (g the upstream gradient), which is the
// gradient of x, it is linear in
//   N_s = sum_{t >= s} (gamma_{s+1} ... gamma_t) (h_t y_t^T + y_t h_t^T),
// kept as a running d x d sum: with r_s = -N_s u_s the gradient of u_s is weight r_s and that of
// the weight u_s . r_s / 2. y and h are computed anew, in float64: the gradient of gamma is a
// difference of large sums of their products.
template <class T>
void adjoint(const PenaltyArrays<T>& in, Index b, Index h, const T* x, const T* upstream,
             const PenaltyGradients<T>& out) {
  const PenaltySizes& n = in.n;
  const Index d = n.width, area = n.vectors * d;  // of one token
  std::vector<double> all_y(static_cast<std::size_t>(n.time * area)), all_h(all_y.size());
  std::vector<double> vector(static_cast<std::size_t>(d));
  track(in, b, h, [&](Index t, const PenaltyTracker& tracker) {
    const Index place = in.place(b, t, h) * area;
    check_finite(upstream + place, area, "the upstream gradient", b, h, t);
    for (Index v = 0; v < n.vectors; ++v) {
      const Index at = place + v * d;
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
    for (Index m = 0; m < n.rank; ++m) {
      const T* u = in.direction(place, m);
      const double weight = in.weight(place, m);
      std::ranges::fill(r, 0.0);
      for (Index i = 0; i < d; ++i) {
        const double* row = sum.data() + i * d;
        const double u_i = u[i];
#pragma omp simd
        for (Index j = 0; j < d; ++j) r[static_cast<std::size_t>(j)] -= u_i * row[j];
      }
      T* du = out.directions + (place * n.rank + m) * d;
      for (Index j = 0; j < d; ++j) du[j] = static_cast<T>(weight * r[static_cast<std::size_t>(j)]);
      const double along = dot_in_float64(u, r.data(), d);
      if (out.weights) out.weights[place * n.rank + m] = static_cast<T>(along / 2);
      direction_part += weight * along;
    }
    scan.token(t, dot_in_float64(solved, y, area), dot_in_float64(solved, x + place * area, area),
               direction_part);
    if (in.forget)
      for (double& element : sum) element *= in.forget[place];
  }
  out.lambda0[b * n.heads + h] = static_cast<T>(scan.lambda0_gradient());
}

}  // namespace

template <class T>
void apply_by_step(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last) {
  const PenaltySizes& n = in.n;
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    std::vector<double> vector(static_cast<std::size_t>(n.width)), result(vector.size());
    for (Index i = begin; i < end; ++i) {
      const Index b = i / n.heads, h = i % n.heads;
      const PenaltyTracker end = track(in, b, h, [&](Index t, const PenaltyTracker& tracker) {
        const Index place = in.place(b, t, h) * n.vectors * n.width;
        check_finite(x + place, n.vectors * n.width, "the vector", b, h, t);
        for (Index v = 0; v < n.vectors; ++v) {
          const Index at = place + v * n.width;
          std::copy_n(x + at, n.width, vector.data());
          tracker.apply(vector.data(), result.data());
          std::ranges::copy(result, y + at);
        }
      });
      std::ranges::copy(end.penalty(), last.penalty + i * n.width * n.width);
      if (last.inverse) std::ranges::copy(end.inverse(), last.inverse + i * n.width * n.width);
      last.kept[i] = end.kept();
    }
  });
}

template <class T>
void adjoint_by_step(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                     const PenaltyGradients<T>& out) {
  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      adjoint(in, i / in.n.heads, i % in.n.heads, x, upstream, out);
  });
}

template void apply_by_step(const PenaltyArrays<float>&, const float*, float*, PenaltyStateArrays);
template void apply_by_step(const PenaltyArrays<double>&, const double*, double*,
                            PenaltyStateArrays);
template void adjoint_by_step(const PenaltyArrays<float>&, const float*, const float*,
                              const PenaltyGradients<float>&);
template void adjoint_by_step(const PenaltyArrays<double>&, const double*, const double*,
                              const PenaltyGradients<double>&);

}  // namespace vla
