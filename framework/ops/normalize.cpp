#include "framework/ops/normalize.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/ops/inputs.hpp"
#include "framework/ops/normalize_cuda.hpp"
#include "framework/ops/rows.hpp"

namespace vla {
namespace {

// Sums over a row of x are taken in float64: squares of float32 neither overflow nor lose their
// tail, and it costs little beside reading the row. Only squares of float64 can overflow or vanish;
// such a row is summed again, divided by its largest element. The loops are functions of their own,
// because arrays that a lambda captured are read through its closure and do not vectorise well.

void check_row_parameter(const char* op, const char* name, const Tensor& parameter,
                         const Tensor& x) {
  check_parameters(op, x, {&parameter});
  check(parameter.shape() == Shape{x.size(-1)}, op, ": ", name, " has shape ", parameter.shape(),
        "; (", x.size(-1), ") is needed for x ", x.shape());
}

void check_epsilon(const char* op, double epsilon) {
  check(epsilon >= 0 && std::isfinite(epsilon), op, ": epsilon ", epsilon,
        " is not allowed; 0 or more");
}

template <class T>
double largest_of(const T* x, Index width) {
  double largest = 0;
#pragma omp simd reduction(max : largest)
  for (Index i = 0; i < width; ++i) largest = std::max(largest, std::abs(double(x[i])));
  return largest;
}

template <class T>
double sum_of_squares(const T* x, Index width) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < width; ++i) sum += double(x[i]) * double(x[i]);
  return sum;
}

// Whether a sum of squares overflowed, or lost digits because squares vanished. NaN did neither.
bool out_of_range(double squares) {
  constexpr double kSmallest = std::numeric_limits<double>::min() * 0x1p60;
  return squares < kSmallest || squares > std::numeric_limits<double>::max();
}

// |x| of a row whose sum of squares is out of range.
template <class T>
double scaled_length(const T* x, Index width) {
  const double largest = largest_of(x, width);
  if (largest == 0 || std::isinf(largest)) return largest;
  double squares = 0;
  for (Index i = 0; i < width; ++i) {
    const double share = double(x[i]) / largest;
    squares += share * share;
  }
  return largest * std::sqrt(squares);
}

// --- layer norm ---------------------------------------------------------------------------------

// What a row is normalised with: xhat = (x - mean) rate, rate = 1 / sqrt(variance + epsilon).
struct Moments {
  double mean, rate;
};

// The moments of a row whose squares overflow.
template <class T>
Moments scaled_moments(const T* x, Index width, double epsilon) {
  const double largest = largest_of(x, width);
  double sum = 0, squares = 0;
  for (Index i = 0; i < width; ++i) sum += double(x[i]) / largest;
  const double mean = sum / double(width);
  for (Index i = 0; i < width; ++i) {
    const double centred = double(x[i]) / largest - mean;
    squares += centred * centred;
  }
  const double deviation = largest * std::sqrt(squares / double(width));
  return {largest * mean, 1 / std::hypot(deviation, std::sqrt(epsilon))};
}

template <class T>
Moments moments_of(const T* x, Index width, double epsilon) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < width; ++i) sum += double(x[i]);
  const double mean = sum / double(width);
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (Index i = 0; i < width; ++i) {
    const double centred = double(x[i]) - mean;
    squares += centred * centred;
  }
  if (squares > std::numeric_limits<double>::max()) return scaled_moments(x, width, epsilon);
  return {mean, 1 / std::sqrt(squares / double(width) + epsilon)};
}

// y = xhat weight + bias
template <class T>
void layer_norm_row(const T* x, T mean, T rate, const T* weight, const T* bias, T* y, Index width) {
#pragma omp simd
  for (Index i = 0; i < width; ++i) y[i] = (x[i] - mean) * rate * weight[i] + bias[i];
}

// With g = dy weight: dx = rate (g - mean(g) - xhat mean(g xhat))
template <class T>
void layer_norm_gradient_row(const T* dy, const T* x, T mean, T rate, const T* weight, T* dx,
                             Index width) {
  T sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (Index i = 0; i < width; ++i) {
    const T g = dy[i] * weight[i];
    sum += g;
    dot += g * ((x[i] - mean) * rate);
  }
  const T mean_g = sum / T(width), mean_dot = dot / T(width);
#pragma omp simd
  for (Index i = 0; i < width; ++i)
    dx[i] = rate * (dy[i] * weight[i] - mean_g - (x[i] - mean) * rate * mean_dot);
}

// The row's part of dweight = sum of dy xhat and dbias = sum of dy.
template <class T>
void add_layer_norm_row(const T* dy, const T* x, T mean, T rate, T* dweight, T* dbias,
                        Index width) {
#pragma omp simd
  for (Index i = 0; i < width; ++i) {
    dweight[i] += dy[i] * ((x[i] - mean) * rate);
    dbias[i] += dy[i];
  }
}

// `moments` receives those of every row, for backward.
template <class T>
void layer_norm_kernel(const Tensor& x, const Tensor& weight, const Tensor& bias, Rows rows,
                       double epsilon, Tensor& y, Tensor& moments) {
  const T *in = x.data<T>(), *scale = weight.data<T>(), *offset = bias.data<T>();
  T *out = y.mutable_data<T>(), *kept = moments.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    const Moments of_row = moments_of(in + first, rows.width, epsilon);
    kept[2 * row] = T(of_row.mean);
    kept[2 * row + 1] = T(of_row.rate);
    layer_norm_row(in + first, kept[2 * row], kept[2 * row + 1], scale, offset, out + first,
                   rows.width);
  });
}

template <class T>
void layer_norm_gradient_x(const Tensor& dy, const Tensor& x, const Tensor& weight,
                           const Tensor& moments, Rows rows, Tensor& dx) {
  const T *upstream = dy.data<T>(), *in = x.data<T>(), *scale = weight.data<T>();
  const T* kept = moments.data<T>();
  T* out = dx.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    layer_norm_gradient_row(upstream + first, in + first, kept[2 * row], kept[2 * row + 1], scale,
                            out + first, rows.width);
  });
}

// dweight and dbias.
template <class T>
void layer_norm_gradient_parameters(const Tensor& dy, const Tensor& x, const Tensor& moments,
                                    Rows rows, Tensor& dweight, Tensor& dbias) {
  const T *upstream = dy.data<T>(), *in = x.data<T>(), *kept = moments.data<T>();
  const Tensor both = sum_over_rows<T>(rows.count, 2 * rows.width, [=](Index row, T* sums) {
    const Index first = row * rows.width;
    add_layer_norm_row(upstream + first, in + first, kept[2 * row], kept[2 * row + 1], sums,
                       sums + rows.width, rows.width);
  });
  std::copy_n(both.data<T>(), rows.width, dweight.mutable_data<T>());
  std::copy_n(both.data<T>() + rows.width, rows.width, dbias.mutable_data<T>());
}

// The gradients of x, weight and bias that are wanted.
std::vector<Tensor> layer_norm_gradient(const BackwardContext& at, Rows rows) {
  const Tensor &dy = at.gradient(), &x = at.saved(0), &weight = at.saved(1);
  const Tensor& moments = at.saved(2);
  Tensor dx, dweight, dbias;
  if (at.wants(0)) {
    dx = empty_like(x);
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), "layer_norm", [&](auto zero) {
        layer_norm_gradient_x<decltype(zero)>(dy, x, weight, moments, rows, dx);
      });
    };
    on_device("layer_norm", x.device(), on_cpu,
              [&] { cuda::layer_norm_gradient_x(dy, x, weight, moments, rows, dx); });
  }
  if (at.wants(1) || at.wants(2)) {
    dweight = empty_like(weight), dbias = empty_like(weight);
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), "layer_norm", [&](auto zero) {
        layer_norm_gradient_parameters<decltype(zero)>(dy, x, moments, rows, dweight, dbias);
      });
    };
    on_device("layer_norm", x.device(), on_cpu,
              [&] { cuda::layer_norm_gradient_parameters(dy, x, moments, rows, dweight, dbias); });
  }
  return {dx, dweight, dbias};
}

}  // namespace

Var layer_norm(const Var& x, const Var& weight, const Var& bias, double epsilon, CallSite site) {
  const Tensor &in = x.value(), &scale = weight.value(), &offset = bias.value();
  const Rows rows = rows_of("layer_norm", in);
  check_row_parameter("layer_norm", "weight", scale, in);
  check_row_parameter("layer_norm", "bias", offset, in);
  check_epsilon("layer_norm", epsilon);
  Tensor y = empty_like(in), moments({rows.count, 2}, accumulated_dtype(in.dtype()), in.device());
  const auto on_cpu = [&] {
    dispatch_floating(in.dtype(), "layer_norm", [&](auto zero) {
      layer_norm_kernel<decltype(zero)>(in, scale, offset, rows, epsilon, y, moments);
    });
  };
  on_device("layer_norm", in.device(), on_cpu,
            [&] { cuda::layer_norm(in, scale, offset, rows, epsilon, y, moments); });
  return record(
      "layer_norm", y, {x, weight, bias}, {in, scale, moments},
      [rows](const BackwardContext& at) { return layer_norm_gradient(at, rows); }, site);
}

// --- RMS norm -----------------------------------------------------------------------------------

namespace {

// 1 / sqrt(mean(x^2) + epsilon)
template <class T>
double rms_rate(const T* x, Index width, double epsilon) {
  const double squares = sum_of_squares(x, width);
  if (!out_of_range(squares)) return 1 / std::sqrt(squares / double(width) + epsilon);
  return 1 / std::hypot(scaled_length(x, width) / std::sqrt(double(width)), std::sqrt(epsilon));
}

// y = x rate weight
template <class T>
void rms_norm_row(const T* x, T rate, const T* weight, T* y, Index width) {
#pragma omp simd
  for (Index i = 0; i < width; ++i) y[i] = x[i] * rate * weight[i];
}

// With g = dy weight and xhat = x rate: dx = rate (g - xhat mean(g xhat))
template <class T>
void rms_norm_gradient_row(const T* dy, const T* x, T rate, const T* weight, T* dx, Index width) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (Index i = 0; i < width; ++i) dot += dy[i] * weight[i] * (x[i] * rate);
  const T mean_dot = dot / T(width);
#pragma omp simd
  for (Index i = 0; i < width; ++i) dx[i] = rate * (dy[i] * weight[i] - x[i] * rate * mean_dot);
}

// The row's part of dweight = sum of dy xhat.
template <class T>
void add_rms_norm_row(const T* dy, const T* x, T rate, T* dweight, Index width) {
#pragma omp simd
  for (Index i = 0; i < width; ++i) dweight[i] += dy[i] * (x[i] * rate);
}

// `rates` receives rate = 1 / sqrt(mean(x^2) + epsilon) of every row, for backward.
template <class T>
void rms_norm_kernel(const Tensor& x, const Tensor& weight, Rows rows, double epsilon, Tensor& y,
                     Tensor& rates) {
  const T *in = x.data<T>(), *scale = weight.data<T>();
  T *out = y.mutable_data<T>(), *kept = rates.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    kept[row] = T(rms_rate(in + first, rows.width, epsilon));
    rms_norm_row(in + first, kept[row], scale, out + first, rows.width);
  });
}

template <class T>
void rms_norm_gradient_x(const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& rates, Rows rows, Tensor& dx) {
  const T *upstream = dy.data<T>(), *in = x.data<T>(), *scale = weight.data<T>();
  const T* kept = rates.data<T>();
  T* out = dx.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    rms_norm_gradient_row(upstream + first, in + first, kept[row], scale, out + first, rows.width);
  });
}

template <class T>
Tensor rms_norm_gradient_weight(const Tensor& dy, const Tensor& x, const Tensor& rates, Rows rows) {
  const T *upstream = dy.data<T>(), *in = x.data<T>(), *kept = rates.data<T>();
  return sum_over_rows<T>(rows.count, rows.width, [=](Index row, T* dweight) {
    const Index first = row * rows.width;
    add_rms_norm_row(upstream + first, in + first, kept[row], dweight, rows.width);
  });
}

// The gradients of x and weight that are wanted.
std::vector<Tensor> rms_norm_gradient(const BackwardContext& at, Rows rows) {
  const Tensor &dy = at.gradient(), &x = at.saved(0), &weight = at.saved(1), &rates = at.saved(2);
  Tensor dx, dweight;
  if (at.wants(0)) {
    dx = empty_like(x);
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), "rms_norm", [&](auto zero) {
        rms_norm_gradient_x<decltype(zero)>(dy, x, weight, rates, rows, dx);
      });
    };
    on_device("rms_norm", x.device(), on_cpu,
              [&] { cuda::rms_norm_gradient_x(dy, x, weight, rates, rows, dx); });
  }
  if (at.wants(1)) {
    dweight = empty_like(weight);
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), "rms_norm", [&](auto zero) {
        dweight = rms_norm_gradient_weight<decltype(zero)>(dy, x, rates, rows);
      });
    };
    on_device("rms_norm", x.device(), on_cpu,
              [&] { cuda::rms_norm_gradient_weight(dy, x, rates, rows, dweight); });
  }
  return {dx, dweight};
}

}  // namespace

Var rms_norm(const Var& x, const Var& weight, double epsilon, CallSite site) {
  const Tensor &in = x.value(), &scale = weight.value();
  const Rows rows = rows_of("rms_norm", in);
  check_row_parameter("rms_norm", "weight", scale, in);
  check_epsilon("rms_norm", epsilon);
  Tensor y = empty_like(in), rates({rows.count}, accumulated_dtype(in.dtype()), in.device());
  const auto on_cpu = [&] {
    dispatch_floating(in.dtype(), "rms_norm", [&](auto zero) {
      rms_norm_kernel<decltype(zero)>(in, scale, rows, epsilon, y, rates);
    });
  };
  on_device("rms_norm", in.device(), on_cpu,
            [&] { cuda::rms_norm(in, scale, rows, epsilon, y, rates); });
  return record(
      "rms_norm", y, {x, weight}, {in, scale, rates},
      [rows](const BackwardContext& at) { return rms_norm_gradient(at, rows); }, site);
}

// --- unit ---------------------------------------------------------------------------------------

namespace {

template <class T>
void unit_row(const T* x, T factor, T* y, Index width) {
#pragma omp simd
  for (Index i = 0; i < width; ++i) y[i] = x[i] * factor;
}

// dx = (dy - y (y . dy)) / |x|
template <class T>
void unit_gradient_row(const T* dy, const T* y, T length, T* dx, Index width) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (Index i = 0; i < width; ++i) dot += dy[i] * y[i];
  const T factor = 1 / length;
#pragma omp simd
  for (Index i = 0; i < width; ++i) dx[i] = (dy[i] - y[i] * dot) * factor;
}

// y = x / max(|x|, floor). `lengths` receives |x|, or 0 where the floor was the divisor.
template <class T>
void unit_kernel(const Tensor& x, Rows rows, double floor, Tensor& y, Tensor& lengths) {
  const T* in = x.data<T>();
  T *out = y.mutable_data<T>(), *kept = lengths.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    const double squares = sum_of_squares(in + first, rows.width);
    const double length =
        out_of_range(squares) ? scaled_length(in + first, rows.width) : std::sqrt(squares);
    const bool floored = length < floor;  // false for NaN, which must show
    kept[row] = floored ? T(0) : T(length);
    unit_row(in + first, T(1 / (floored ? floor : length)), out + first, rows.width);
  });
}

template <class T>
void unit_gradient(const Tensor& dy, const Tensor& y, const Tensor& lengths, Rows rows,
                   double floor, Tensor& dx) {
  const T *upstream = dy.data<T>(), *unit = y.data<T>(), *kept = lengths.data<T>();
  T* out = dx.mutable_data<T>();
  each_row(rows, [=](Index row, Index first) {
    if (kept[row] == 0)  // the divisor was a constant
      unit_row(upstream + first, T(1 / floor), out + first, rows.width);
    else
      unit_gradient_row(upstream + first, unit + first, kept[row], out + first, rows.width);
  });
}

}  // namespace

Var unit(const Var& x, double floor, CallSite site) {
  check_inputs("unit", {&x.value()});
  check(floor > 0 && std::isfinite(floor), "unit: floor ", floor,
        " is not allowed; more than 0, because a zero vector has no direction");
  const Tensor& in = x.value();
  const Rows rows = rows_of("unit", in);
  Tensor y = empty_like(in), lengths({rows.count}, accumulated_dtype(in.dtype()), in.device());
  const auto on_cpu = [&] {
    dispatch_floating(in.dtype(), "unit",
                      [&](auto zero) { unit_kernel<decltype(zero)>(in, rows, floor, y, lengths); });
  };
  on_device("unit", in.device(), on_cpu, [&] { cuda::unit(in, rows, floor, y, lengths); });
  return record(
      "unit", y, {x}, {y, lengths},
      [rows, floor](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &dy = at.gradient(), &y = at.saved(0), &lengths = at.saved(1);
        Tensor dx = empty_like(y);
        const auto on_cpu = [&] {
          dispatch_floating(y.dtype(), "unit", [&](auto zero) {
            unit_gradient<decltype(zero)>(dy, y, lengths, rows, floor, dx);
          });
        };
        on_device("unit", y.device(), on_cpu,
                  [&] { cuda::unit_gradient(dy, y, lengths, rows, floor, dx); });
        return {dx};
      },
      site);
}

}  // namespace vla
