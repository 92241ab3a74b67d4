#include "models/vla/stabilized_step.hpp"

#include <algorithm>
#include <cmath>

#include "models/small_matrix.hpp"

namespace vla {
namespace {

template <class T>
T length(const std::vector<T>& x) {
  return std::sqrt(dot(x.data(), x.data(), static_cast<Index>(x.size())));
}

// y = M x for a row-major matrix with rows of y's length times columns of x's.
template <class T>
std::vector<T> product(const std::vector<T>& matrix, const T* x, Index rows, Index columns) {
  std::vector<T> y(static_cast<std::size_t>(rows));
  for (Index i = 0; i < rows; ++i)
    y[static_cast<std::size_t>(i)] = dot(matrix.data() + i * columns, x, columns);
  return y;
}

// y = M^T x.
template <class T>
std::vector<T> transposed_product(const T* matrix, const T* x, Index rows, Index columns) {
  std::vector<T> y(static_cast<std::size_t>(columns));
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j)
      y[static_cast<std::size_t>(j)] += x[i] * matrix[i * columns + j];
  return y;
}

// M += factor x y^T.
template <class T>
void add_outer(std::vector<T>& matrix, T factor, const T* x, Index rows, const T* y,
               Index columns) {
  for (Index i = 0; i < rows; ++i) {
    T* row = matrix.data() + i * columns;
    const T x_i = factor * x[i];
#pragma omp simd
    for (Index j = 0; j < columns; ++j) row[j] += x_i * y[j];
  }
}

template <class T>
void add(T* into, const std::vector<T>& x) {
  for (std::size_t i = 0; i < x.size(); ++i) into[i] += x[i];
}

template <class T>
void add_to_diagonal(std::vector<T>& matrix, T amount, Index n) {
  for (Index i = 0; i < n; ++i) matrix[static_cast<std::size_t>(i * (n + 1))] += amount;
}

template <class T>
void make_symmetric(std::vector<T>& matrix, Index n) {
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < i; ++j) {
      T& lower = matrix[static_cast<std::size_t>(i * n + j)];
      T& upper = matrix[static_cast<std::size_t>(j * n + i)];
      lower = upper = (lower + upper) / 2;
    }
}

// The reference keeps |e| away from 0 where it divides by it.
constexpr double kClipGuard = 1e-6;

}  // namespace

template <class T>
StabilizedState<T>::StabilizedState(const StabilizedSizes& sizes, const StabilizedOptions& options)
    : inverse(static_cast<std::size_t>(sizes.key * sizes.key)),
      memory(static_cast<std::size_t>(sizes.value * sizes.key)),
      inverse_gradient(inverse.size()),
      memory_gradient(memory.size()),
      n_(sizes),
      options_(options) {
  add_to_diagonal(inverse, T(1 / options.lambda0), n_.key);
}

// One Sherman-Morrison update, or what stands in for it where delta is too small.
template <class T>
void StabilizedState<T>::update(const T* u, T* du, std::vector<InverseStep<T>>& steps) {
  using Kind = typename InverseStep<T>::Kind;
  InverseStep<T> step{Kind::update, 0, u, du, product(inverse, u, n_.key, n_.key)};
  const T delta = 1 + dot(u, step.z.data(), n_.key);
  if (std::abs(delta) < T(options_.fallback_below)) {
    step.kind = Kind::fallback;
    step.amount = T(options_.fallback_below);
    add_to_diagonal(inverse, step.amount, n_.key);
  } else {
    if (delta < T(options_.delta_floor)) {
      step.kind = Kind::clamped;
      step.inverse_before = inverse;
    }
    step.amount = std::max(delta, T(options_.delta_floor));
    add_outer(inverse, -1 / step.amount, step.z.data(), n_.key, step.z.data(), n_.key);
  }
  steps.push_back(std::move(step));
}

template <class T>
void StabilizedState<T>::count_update(std::vector<InverseStep<T>>& steps) {
  ++updates;
  if (options_.nudge_period == 0 || updates % options_.nudge_period != 0) return;
  add_to_diagonal(inverse, T(options_.nudge), n_.key);
  steps.push_back({InverseStep<T>::Kind::nudge, T(options_.nudge)});
}

template <class T>
T StabilizedState<T>::coefficient(const T* k, std::vector<T>& alpha) const {
  alpha = product(inverse, k, n_.key, n_.key);
  const T norm = length(alpha);
  if (options_.unit_coefficient)
    for (T& element : alpha) element /= std::max(norm, T(options_.unit_floor));
  return norm;
}

template <class T>
void StabilizedState<T>::clip(std::vector<T>& error) const {
  const T norm = length(error), limit = T(options_.error_clip);
  if (limit == 0 || !(norm > limit)) return;
  for (T& element : error) element *= limit / (norm + T(kClipGuard));
}

template <class T>
void StabilizedState<T>::forward(const StabilizedToken<T>& token,
                                 std::vector<InverseStep<T>>& steps) {
  for (Index m = 0; m < n_.directions; ++m)
    update(token.u + m * n_.key, token.du ? token.du + m * n_.key : nullptr, steps);
  count_update(steps);
  if (token.symbolic) {
    update(token.symbolic, token.dsymbolic, steps);
    count_update(steps);
  }

  std::vector<T> alpha;
  coefficient(token.k, alpha);
  std::vector<T> error = product(memory, token.k, n_.value, n_.key);
  for (Index i = 0; i < n_.value; ++i)
    error[static_cast<std::size_t>(i)] = token.v[i] - error[static_cast<std::size_t>(i)];
  clip(error);
  add_outer(memory, T(1), error.data(), n_.value, alpha.data(), n_.key);
  const T norm = length(memory);
  if (options_.renormalize_above > 0 && norm > T(options_.renormalize_above))
    for (T& element : memory) element /= norm;

  const T limit = T(options_.guard_above);
  if (limit > 0 && (length(memory) > limit || length(inverse) > limit)) {
    add_to_diagonal(inverse, T(options_.guard), n_.key);
    steps.push_back({InverseStep<T>::Kind::guard, T(options_.guard)});
  }
  const std::vector<T> read = options_.read_through_inverse
                                  ? product(inverse, token.q, n_.key, n_.key)
                                  : std::vector<T>(token.q, token.q + n_.key);
  std::ranges::copy(product(memory, read.data(), n_.value, n_.key), token.o);
}

// For A' = A - z z^T / delta with the adjoint G of A', and g = G z / delta:
//   dA = G - u g^T - g u^T + (z.g / delta) u u^T,  du = -2 A' g.
// A clamped delta is a constant: dA = G - u g^T - g u^T, du = -2 A g.
template <class T>
void StabilizedState<T>::backward_step(const InverseStep<T>& step) {
  using Kind = typename InverseStep<T>::Kind;
  const Index d = n_.key;
  if (step.kind != Kind::update && step.kind != Kind::clamped)
    return add_to_diagonal(inverse, -step.amount, d);
  std::vector<T> g = product(inverse_gradient, step.z.data(), d, d);
  for (T& element : g) element /= step.amount;
  const T along = dot(step.z.data(), g.data(), d) / step.amount;

  std::vector<T> du = product(inverse, g.data(), d, d);  // with A'
  if (step.kind == Kind::clamped) {
    inverse = step.inverse_before;
    du = product(inverse, g.data(), d, d);  // with A
  } else {
    add_outer(inverse, 1 / step.amount, step.z.data(), d, step.z.data(), d);
  }
  for (Index i = 0; i < d; ++i) step.du[i] -= 2 * du[static_cast<std::size_t>(i)];

  add_outer(inverse_gradient, T(-1), step.u, d, g.data(), d);
  add_outer(inverse_gradient, T(-1), g.data(), d, step.u, d);
  if (step.kind == Kind::update) add_outer(inverse_gradient, along, step.u, d, step.u, d);
}

// alpha = a / max(|a|, floor) with a = A k, `length` = |a|.
template <class T>
void StabilizedState<T>::backward_coefficient(const StabilizedToken<T>& token,
                                              const std::vector<T>& alpha, T length,
                                              std::vector<T>& dalpha) {
  if (options_.unit_coefficient) {
    const T divisor = std::max(length, T(options_.unit_floor));
    const T along = length > T(options_.unit_floor) ? dot(alpha.data(), dalpha.data(), n_.key) : 0;
    for (std::size_t i = 0; i < dalpha.size(); ++i)
      dalpha[i] = (dalpha[i] - alpha[i] * along) / divisor;
  }
  add_outer(inverse_gradient, T(1), dalpha.data(), n_.key, token.k, n_.key);
  add(token.dk, product(inverse, dalpha.data(), n_.key, n_.key));
}

// Gradient of clip at `error` (before clipping): the gradient flows through |e|.
template <class T>
void StabilizedState<T>::backward_clip(const std::vector<T>& error,
                                       std::vector<T>& gradient) const {
  const T norm = length(error), limit = T(options_.error_clip);
  if (limit == 0 || !(norm > limit)) return;
  const T divisor = norm + T(kClipGuard), factor = limit / divisor;
  const T along = dot(error.data(), gradient.data(), n_.value) * factor / (divisor * norm);
  for (std::size_t i = 0; i < gradient.size(); ++i)
    gradient[i] = factor * gradient[i] - along * error[i];
}

template <class T>
void StabilizedState<T>::backward(const StabilizedToken<T>& token,
                                  const std::vector<InverseStep<T>>& steps, const T* before,
                                  const T* after) {
  const Index d = n_.key;
  // o = S y with y = A q or q.
  const std::vector<T> dread = transposed_product(after, token.output_gradient, n_.value, d);
  if (options_.read_through_inverse) {
    const std::vector<T> read = product(inverse, token.q, d, d);
    add_outer(memory_gradient, T(1), token.output_gradient, n_.value, read.data(), d);
    add_outer(inverse_gradient, T(1), dread.data(), d, token.q, d);
    add(token.dq, product(inverse, dread.data(), d, d));
  } else {
    add_outer(memory_gradient, T(1), token.output_gradient, n_.value, token.q, d);
    add(token.dq, dread);
  }

  auto step = steps.rbegin();
  if (step != steps.rend() && step->kind == InverseStep<T>::Kind::guard) backward_step(*step++);
  std::vector<T> alpha;
  const T alpha_length = coefficient(token.k, alpha);
  const std::vector<T> s(before, before + n_.value * d);
  std::vector<T> error = product(s, token.k, n_.value, d);
  for (Index i = 0; i < n_.value; ++i)
    error[static_cast<std::size_t>(i)] = token.v[i] - error[static_cast<std::size_t>(i)];
  std::vector<T> clipped = error;
  clip(clipped);

  std::vector<T> written = s;
  add_outer(written, T(1), clipped.data(), n_.value, alpha.data(), d);
  const T norm = length(written);
  if (options_.renormalize_above > 0 && norm > T(options_.renormalize_above)) {
    const T along = dot(after, memory_gradient.data(), n_.value * d);
    for (std::size_t i = 0; i < memory_gradient.size(); ++i)
      memory_gradient[i] = (memory_gradient[i] - after[i] * along) / norm;
  }

  std::vector<T> derror = product(memory_gradient, alpha.data(), n_.value, d);
  std::vector<T> dalpha = transposed_product(memory_gradient.data(), clipped.data(), n_.value, d);
  backward_clip(error, derror);
  add(token.dv, derror);
  const std::vector<T> dk = transposed_product(before, derror.data(), n_.value, d);
  for (Index i = 0; i < d; ++i) token.dk[i] -= dk[static_cast<std::size_t>(i)];
  add_outer(memory_gradient, T(-1), derror.data(), n_.value, token.k, d);
  backward_coefficient(token, alpha, alpha_length, dalpha);

  make_symmetric(inverse_gradient, d);
  for (; step != steps.rend(); ++step) backward_step(*step);
}

template class StabilizedState<float>;
template class StabilizedState<double>;

}  // namespace vla
