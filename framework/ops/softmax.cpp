#include "framework/ops/softmax.hpp"

#include <cmath>
#include <limits>

#include "framework/ops/inputs.hpp"
#include "framework/ops/rows.hpp"
#include "framework/ops/softmax_cuda.hpp"
#include "framework/ops/vector_math.hpp"

namespace vla {
namespace {

// The largest element, which keeps exp(x - shift) from overflowing; 0 for a row of nothing but
// -infinity, where x - shift must stay -infinity.
template <class T>
T shift_of(const T* x, Index width) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  T largest = lowest;
#pragma omp simd reduction(max : largest)
  for (Index i = 0; i < width; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest == lowest ? T(0) : largest;
}

// y = exp(x - shift), for x <= shift, and its sum. Powers smaller than every normal number are 0:
// the vector form of exp computes those, -infinity among them, one at a time, and masked scores
// bring them by the thousand. So x - shift is limited first, in a loop of its own, because the
// compiler would otherwise move the limit behind exp. y may be x.
template <class T>
T exponentials(const T* x, T shift, T* y, Index width) {
  constexpr T limit = sizeof(T) == 4 ? T(-87) : T(-708);
#pragma omp simd
  for (Index i = 0; i < width; ++i) y[i] = x[i] - shift < limit ? limit : x[i] - shift;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < width; ++i) {
    const T power = std::exp(y[i]);
    y[i] = y[i] == limit ? T(0) : power;
    sum += y[i];
  }
  return sum;
}

// log(sum exp(x)) in two parts, shift + log(sum): together they would lose the digits of log(sum)
// when the shift is large. A row of nothing but -infinity has sum 0.
template <class T>
struct PowerSum {
  T shift, sum;
};

template <class T>
PowerSum<T> power_sum(const T* x, Index width) {
  constexpr Index kChunk = 256;
  T powers[kChunk];
  const T shift = shift_of(x, width);
  T sum = 0;
  for (Index i = 0; i < width; i += kChunk)
    sum += exponentials(x + i, shift, powers, std::min(kChunk, width - i));
  return {shift, sum};
}

// sum(x - shift)
template <class T>
T sum_of(const T* x, T shift, Index width) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < width; ++i) sum += x[i] - shift;
  return sum;
}

// --- softmax ------------------------------------------------------------------------------------

template <class T>
void softmax_row(const T* x, T* y, Index width) {
  const T sum = exponentials(x, shift_of(x, width), y, width);
  const T factor = sum == 0 ? T(0) : 1 / sum;
#pragma omp simd
  for (Index i = 0; i < width; ++i) y[i] *= factor;
}

// dx = y (dy - sum(y dy))
template <class T>
void softmax_gradient_row(const T* dy, const T* y, T* dx, Index width) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (Index i = 0; i < width; ++i) dot += y[i] * dy[i];
#pragma omp simd
  for (Index i = 0; i < width; ++i) dx[i] = y[i] * (dy[i] - dot);
}

// y = x - log(sum exp(x)); a row of nothing but -infinity stays as it is.
template <class T>
void log_softmax_row(const T* x, T* y, Index width) {
  const PowerSum<T> total = power_sum(x, width);
  const T shift = total.shift, rest = total.sum == 0 ? T(0) : std::log(total.sum);
#pragma omp simd
  for (Index i = 0; i < width; ++i) y[i] = (x[i] - shift) - rest;
}

// dx = dy - exp(y) sum(dy)
template <class T>
void log_softmax_gradient_row(const T* dy, const T* y, T* dx, Index width) {
  const T sum = sum_of(dy, T(0), width);
  exponentials(y, T(0), dx, width);
#pragma omp simd
  for (Index i = 0; i < width; ++i) dx[i] = dy[i] - dx[i] * sum;
}

// The kernels of an op along rows on CUDA: x into y, and dy and y into dx.
struct CudaRows {
  void (*value)(const Tensor& x, Rows rows, Tensor& y);
  void (*gradient)(const Tensor& dy, const Tensor& y, Rows rows, Tensor& dx);
};

// The op that `value` (x into y) and `gradient` (dy and y into dx) describe for one row, and
// `on_cuda` returns for all of them.
template <class Value, class Gradient, class OnCuda>
Var along_rows(const char* op, const Var& x, Value value, Gradient gradient, OnCuda on_cuda,
               CallSite site) {
  check_inputs(op, {&x.value()});
  const Rows rows = rows_of(op, x.value());
  Tensor y = empty_like(x.value());
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), op, [&](auto zero) {
      using T = decltype(zero);
      const T* in = x.value().data<T>();
      T* out = y.mutable_data<T>();
      each_row(rows, [&](Index, Index first) { value(in + first, out + first, rows.width); });
    });
  };
  on_device(op, x.device(), on_cpu, [&] { on_cuda().value(x.value(), rows, y); });
  return record(
      op, y, {x}, {y},
      [op, rows, gradient, on_cuda](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &dy = at.gradient(), &y = at.saved(0);
        Tensor dx = empty_like(dy);
        const auto on_cpu = [&] {
          dispatch_floating(dx.dtype(), op, [&](auto zero) {
            using T = decltype(zero);
            const T *upstream = dy.data<T>(), *out = y.data<T>();
            T* into = dx.mutable_data<T>();
            each_row(rows, [&](Index, Index first) {
              gradient(upstream + first, out + first, into + first, rows.width);
            });
          });
        };
        on_device(op, dx.device(), on_cpu, [&] { on_cuda().gradient(dy, y, rows, dx); });
        return {dx};
      },
      site);
}

}  // namespace

Var softmax(const Var& x, CallSite site) {
  return along_rows(
      "softmax", x, [](const auto* x, auto* y, Index width) { softmax_row(x, y, width); },
      [](const auto* dy, const auto* y, auto* dx, Index width) {
        softmax_gradient_row(dy, y, dx, width);
      },
      [] {
        return CudaRows{cuda::softmax, cuda::softmax_gradient};
      },
      site);
}

Var log_softmax(const Var& x, CallSite site) {
  return along_rows(
      "log_softmax", x, [](const auto* x, auto* y, Index width) { log_softmax_row(x, y, width); },
      [](const auto* dy, const auto* y, auto* dx, Index width) {
        log_softmax_gradient_row(dy, y, dx, width);
      },
      [] {
        return CudaRows{cuda::log_softmax, cuda::log_softmax_gradient};
      },
      site);
}

// --- cross entropy ------------------------------------------------------------------------------

namespace {

// The number of targets that count, after checking every one.
Index counted_targets(const Tensor& targets, Index classes, Index ignore_index) {
  Index count = 0;
  for (Index target : targets.values<Index>()) {
    if (target == ignore_index) continue;
    check(target >= 0 && target < classes, "cross_entropy: target ", target,
          " is out of range; allowed: 0 to ", classes - 1, ", or ", ignore_index, " to ignore it");
    ++count;
  }
  return count;
}

// -sum over classes of log(softmax(x)) times the mass that the target and smoothing give each.
template <class T>
double cross_entropy_row(const T* x, PowerSum<T> total, Index target, double smoothing,
                         Index classes) {
  const T ahead = x[target] - total.shift;
  double loss = std::log(double(total.sum)) - (1 - smoothing) * double(ahead);
  if (smoothing > 0) loss -= smoothing / double(classes) * double(sum_of(x, total.shift, classes));
  return loss;
}

// dx = factor (softmax(x) - smoothing / classes - (1 - smoothing) [target])
template <class T>
void cross_entropy_gradient_row(const T* x, PowerSum<T> total, Index target, double smoothing,
                                T factor, T* dx, Index classes) {
  const T even = T(smoothing / double(classes)), share = 1 / total.sum;
  exponentials(x, total.shift, dx, classes);
#pragma omp simd
  for (Index i = 0; i < classes; ++i) dx[i] = (dx[i] * share - even) * factor;
  dx[target] -= T(1 - smoothing) * factor;
}

// The loss; `totals` receives the power sum of each row that counts, for backward.
template <class T>
double cross_entropy_kernel(const Tensor& logits, const Tensor& targets, Rows rows,
                            CrossEntropyOptions options, Index count, Tensor& totals) {
  const T* x = logits.data<T>();
  const Index* target = targets.data<Index>();
  T* kept = totals.mutable_data<T>();
  std::vector<double> losses(static_cast<std::size_t>(rows.count));
  each_row(rows, [&](Index row, Index first) {
    if (target[row] == options.ignore_index) return;
    const PowerSum<T> total = power_sum(x + first, rows.width);
    kept[2 * row] = total.shift;
    kept[2 * row + 1] = total.sum;
    losses[static_cast<std::size_t>(row)] =
        cross_entropy_row(x + first, total, target[row], options.label_smoothing, rows.width);
  });
  double sum = 0;
  for (double loss : losses) sum += loss;
  return count == 0 ? 0 : sum / double(count);
}

template <class T>
void cross_entropy_gradient(const Tensor& logits, const Tensor& targets, const Tensor& totals,
                            Rows rows, CrossEntropyOptions options, T factor, Tensor& gradient) {
  const T *x = logits.data<T>(), *kept = totals.data<T>();
  const Index* target = targets.data<Index>();
  T* dx = gradient.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    if (target[row] == options.ignore_index)
      std::fill_n(dx + first, rows.width, T(0));
    else
      cross_entropy_gradient_row(x + first, PowerSum<T>{kept[2 * row], kept[2 * row + 1]},
                                 target[row], options.label_smoothing, factor, dx + first,
                                 rows.width);
  });
}

Rows cross_entropy_rows(const Tensor& logits, const Tensor& targets, CrossEntropyOptions options) {
  check_inputs("cross_entropy", {&logits});
  const Rows rows = rows_of("cross_entropy", logits);
  check(targets.dtype() == DType::int64, "cross_entropy: targets are ", targets.dtype(),
        "; int64 is needed");
  check(targets.shape() == logits.shape().without(-1), "cross_entropy: logits ", logits.shape(),
        " need targets ", logits.shape().without(-1), ", they have shape ", targets.shape());
  check(targets.device() == logits.device(), "cross_entropy: logits are on ", logits.device(),
        ", targets on ", targets.device(), "; one device is needed");
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1,
        "cross_entropy: label smoothing ", options.label_smoothing, " is not allowed; 0 to 1");
  return rows;
}

}  // namespace

Var cross_entropy(const Var& logits, const Tensor& targets, CrossEntropyOptions options,
                  CallSite site) {
  const Tensor& x = logits.value();
  const Rows rows = cross_entropy_rows(x, targets, options);
  const cuda::CrossEntropyRows how{rows, options.ignore_index, options.label_smoothing};
  const DType computed = accumulated_dtype(x.dtype());
  Tensor totals({rows.count, 2}, computed, x.device());
  Tensor count({}, DType::float64, x.device());  // of the targets that count
  Tensor loss({}, computed, x.device());
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "cross_entropy", [&](auto zero) {
      using T = decltype(zero);
      const Index counted = counted_targets(targets, rows.width, options.ignore_index);
      count.fill(double(counted));
      loss.fill(cross_entropy_kernel<T>(x, targets, rows, options, counted, totals));
    });
  };
  on_device("cross_entropy", x.device(), on_cpu,
            [&] { cuda::cross_entropy(x, targets, how, totals, count, loss); });
  return record(
      "cross_entropy", loss, {logits}, {x, targets, totals, count},
      [rows, options, how](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &dy = at.gradient(), &x = at.saved(0), &targets = at.saved(1);
        const Tensor &totals = at.saved(2), &count = at.saved(3);
        Tensor dx = empty_like(x);
        const auto on_cpu = [&] {
          dispatch_floating(x.dtype(), "cross_entropy", [&](auto zero) {
            using T = decltype(zero);
            const double counted = count.item();
            const T factor = counted == 0 ? T(0) : T(dy.item() / counted);
            cross_entropy_gradient<T>(x, targets, totals, rows, options, factor, dx);
          });
        };
        on_device("cross_entropy", dx.device(), on_cpu,
                  [&] { cuda::cross_entropy_gradient(dy, x, targets, how, totals, count, dx); });
        return {dx};
      },
      site);
}

}  // namespace vla
