#include "framework/cuda/columns.cuh"
#include "framework/cuda/rows.cuh"
#include "framework/ops/normalize_cuda.hpp"

namespace vla::cuda {
namespace {

// Whether a sum of squares overflowed, or lost digits because squares vanished. NaN did neither.
// Such a row is summed again, divided by its largest element.
template <class A>
__device__ bool out_of_range(A squares) {
  constexpr A smallest = std::numeric_limits<A>::min() * (sizeof(A) == 4 ? A(0x1p30) : A(0x1p60));
  return squares < smallest || squares > std::numeric_limits<A>::max();
}

template <class Plan, class T, class A = Accumulated<T>>
__device__ A largest_of(const RowPieces<Plan, T>& x, Index width) {
  A largest = 0;
  each_value<Plan>(
      width, [&](Index, A value) { largest = Max()(largest, value < 0 ? -value : value); }, x);
  return max_of_team<Plan::kTeam>(largest);
}

// --- layer norm ---------------------------------------------------------------------------------

// What a row is normalised with: xhat = (x - mean) rate, rate = 1 / sqrt(variance + epsilon).
template <class A>
struct Moments {
  A mean, rate;
};

// The moments of a row whose squares are out of range, or that has an element that is not finite.
template <class Plan, class T, class A = Accumulated<T>>
__device__ Moments<A> scaled_moments(const RowPieces<Plan, T>& x, Index width, A epsilon) {
  const A largest = largest_of(x, width), divisor = largest == 0 ? A(1) : largest;
  A sum = 0, squares = 0;
  each_value<Plan>(
      width, [&](Index, A value) { sum += value / divisor; }, x);
  const A mean = sum_of_team<Plan::kTeam>(sum) / A(width);
  each_value<Plan>(
      width,
      [&](Index, A value) {
        const A centred = value / divisor - mean;
        squares += centred * centred;
      },
      x);
  const A deviation = divisor * sqrt(sum_of_team<Plan::kTeam>(squares) / A(width));
  return {divisor * mean, 1 / hypot(deviation, sqrt(epsilon))};
}

// What rounding took from the mean is found with the variance, and given back.
template <class Plan, class T, class A = Accumulated<T>>
__device__ Moments<A> moments_of(const RowPieces<Plan, T>& x, Index width, A epsilon) {
  A sum = 0, rest = 0, squares = 0;
  each_value<Plan>(
      width, [&](Index, A value) { sum += value; }, x);
  const A mean = sum_of_team<Plan::kTeam>(sum) / A(width);
  each_value<Plan>(
      width,
      [&](Index, A value) {
        const A centred = value - mean;
        rest += centred;
        squares += centred * centred;
      },
      x);
  rest = sum_of_team<Plan::kTeam>(rest) / A(width);
  squares = sum_of_team<Plan::kTeam>(squares);
  // A sum of large elements may have become infinity - infinity.
  if (squares != squares || out_of_range(squares)) return scaled_moments(x, width, epsilon);
  const A variance = squares / A(width) - rest * rest;
  return {mean + rest, 1 / sqrt((variance < 0 ? A(0) : variance) + epsilon)};
}

// y = xhat weight + bias
template <class Plan, class T, class A>
__global__ void layer_norm_kernel(const T* x, const A* weight, const A* bias, Rows rows, A epsilon,
                                  T* y, A* moments) {
  const Index row = Plan::row(), width = rows.width;
  if (row >= rows.count) return;
  const RowPieces<Plan, T> in(x + row * width, width);
  const Moments<A> of_row = moments_of(in, width, epsilon);
  if (Plan::lane() == 0) {
    moments[2 * row] = of_row.mean;
    moments[2 * row + 1] = of_row.rate;
  }
  write_values<Plan>(
      y + row * width, width,
      [&](Index, A value, A scale, A offset) {
        return (value - of_row.mean) * of_row.rate * scale + offset;
      },
      in, SharedRow<Plan, A>(weight), SharedRow<Plan, A>(bias));
}

// With g = dy weight: dx = rate (g - mean(g) - xhat mean(g xhat))
template <class Plan, class T, class A>
__global__ void layer_norm_gradient_kernel(const T* dy, const T* x, const A* weight,
                                           const A* moments, Rows rows, T* dx) {
  const Index row = Plan::row(), width = rows.width;
  if (row >= rows.count) return;
  const RowPieces<Plan, T> upstream(dy + row * width, width), in(x + row * width, width);
  const SharedRow<Plan, A> scales(weight);
  const A mean = moments[2 * row], rate = moments[2 * row + 1];
  A sum = 0, dot = 0;
  each_value<Plan>(
      width,
      [&](Index, A above, A value, A scale) {
        const A g = above * scale;
        sum += g;
        dot += g * ((value - mean) * rate);
      },
      upstream, in, scales);
  const A mean_g = sum_of_team<Plan::kTeam>(sum) / A(width);
  const A mean_dot = sum_of_team<Plan::kTeam>(dot) / A(width);
  write_values<Plan>(
      dx + row * width, width,
      [&](Index, A above, A value, A scale) {
        return rate * (above * scale - mean_g - (value - mean) * rate * mean_dot);
      },
      upstream, in, scales);
}

// dweight = sum of dy xhat and dbias = sum of dy.
template <class T>
struct LayerNormTerms {
  using A = Accumulated<T>;
  const T *dy, *x;
  const A* moments;
  Index width;

  template <int size>
  __device__ void add(Index row, Index column, A (&totals)[2][size]) const {
    const auto above = read_piece<size>(dy + row * width + column);
    const auto in = read_piece<size>(x + row * width + column);
    const A mean = moments[2 * row], rate = moments[2 * row + 1];
#pragma unroll
    for (int j = 0; j < size; ++j) {
      const A g = widened(above.elements[j]);
      totals[0][j] += g * ((widened(in.elements[j]) - mean) * rate);
      totals[1][j] += g;
    }
  }
};

// --- RMS norm and unit --------------------------------------------------------------------------

// |x| of a row whose sum of squares is out of range.
template <class Plan, class T, class A = Accumulated<T>>
__device__ A scaled_length(const RowPieces<Plan, T>& x, Index width) {
  const A largest = largest_of(x, width);
  if (largest == 0 || isinf(largest)) return largest;
  A squares = 0;
  each_value<Plan>(
      width,
      [&](Index, A value) {
        const A share = value / largest;
        squares += share * share;
      },
      x);
  return largest * sqrt(sum_of_team<Plan::kTeam>(squares));
}

template <class Plan, class T, class A = Accumulated<T>>
__device__ A sum_of_squares(const RowPieces<Plan, T>& x, Index width) {
  A squares = 0;
  each_value<Plan>(
      width, [&](Index, A value) { squares += value * value; }, x);
  return sum_of_team<Plan::kTeam>(squares);
}

// y = x rate weight, rate = 1 / sqrt(mean(x^2) + epsilon)
template <class Plan, class T, class A>
__global__ void rms_norm_kernel(const T* x, const A* weight, Rows rows, A epsilon, T* y, A* rates) {
  const Index row = Plan::row(), width = rows.width;
  if (row >= rows.count) return;
  const RowPieces<Plan, T> in(x + row * width, width);
  const A squares = sum_of_squares(in, width);
  A rate;
  if (out_of_range(squares))
    rate = 1 / hypot(scaled_length(in, width) / sqrt(A(width)), sqrt(epsilon));
  else
    rate = 1 / sqrt(squares / A(width) + epsilon);
  if (Plan::lane() == 0) rates[row] = rate;
  write_values<Plan>(
      y + row * width, width, [&](Index, A value, A scale) { return value * rate * scale; }, in,
      SharedRow<Plan, A>(weight));
}

// With g = dy weight and xhat = x rate: dx = rate (g - xhat mean(g xhat))
template <class Plan, class T, class A>
__global__ void rms_norm_gradient_kernel(const T* dy, const T* x, const A* weight, const A* rates,
                                         Rows rows, T* dx) {
  const Index row = Plan::row(), width = rows.width;
  if (row >= rows.count) return;
  const RowPieces<Plan, T> upstream(dy + row * width, width), in(x + row * width, width);
  const SharedRow<Plan, A> scales(weight);
  const A rate = rates[row];
  A dot = 0;
  each_value<Plan>(
      width, [&](Index, A above, A value, A scale) { dot += above * scale * (value * rate); },
      upstream, in, scales);
  const A mean_dot = sum_of_team<Plan::kTeam>(dot) / A(width);
  write_values<Plan>(
      dx + row * width, width,
      [&](Index, A above, A value, A scale) {
        return rate * (above * scale - value * rate * mean_dot);
      },
      upstream, in, scales);
}

// dweight = sum of dy xhat.
template <class T>
struct RmsNormTerms {
  using A = Accumulated<T>;
  const T *dy, *x;
  const A* rates;
  Index width;

  template <int size>
  __device__ void add(Index row, Index column, A (&totals)[1][size]) const {
    const auto above = read_piece<size>(dy + row * width + column);
    const auto in = read_piece<size>(x + row * width + column);
    const A rate = rates[row];
#pragma unroll
    for (int j = 0; j < size; ++j)
      totals[0][j] += widened(above.elements[j]) * (widened(in.elements[j]) * rate);
  }
};

// y = x / max(|x|, floor)
template <class Plan, class T, class A>
__global__ void unit_kernel(const T* x, Rows rows, double floor, T* y, A* lengths) {
  const Index row = Plan::row(), width = rows.width;
  if (row >= rows.count) return;
  const RowPieces<Plan, T> in(x + row * width, width);
  const A squares = sum_of_squares(in, width);
  const A length = out_of_range(squares) ? scaled_length(in, width) : sqrt(squares);
  const bool floored = double(length) < floor;  // false for NaN, which must show
  if (Plan::lane() == 0) lengths[row] = floored ? A(0) : length;
  const A factor = A(1 / (floored ? floor : double(length)));
  write_values<Plan>(
      y + row * width, width, [&](Index, A value) { return value * factor; }, in);
}

// dx = (dy - y (y . dy)) / |x|, or dy / floor where that was the divisor.
template <class Plan, class T, class A>
__global__ void unit_gradient_kernel(const T* dy, const T* y, const A* lengths, Rows rows,
                                     double floor, T* dx) {
  const Index row = Plan::row(), width = rows.width;
  if (row >= rows.count) return;
  const RowPieces<Plan, T> upstream(dy + row * width, width), out(y + row * width, width);
  const A length = lengths[row];
  A dot = 0;
  if (length != 0)
    each_value<Plan>(
        width, [&](Index, A above, A value) { dot += above * value; }, upstream, out);
  dot = sum_of_team<Plan::kTeam>(dot);
  const A factor = A(1 / (length == 0 ? floor : double(length)));
  write_values<Plan>(
      dx + row * width, width,
      [&](Index, A above, A value) {
        return length == 0 ? above * factor : (above - value * dot) * factor;
      },
      upstream, out);
}

}  // namespace

void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, Rows rows,
                double epsilon, Tensor& y, Tensor& moments) {
  dispatch_rows(x.dtype(), "layer_norm", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("layer_norm", x.device())(layer_norm_kernel<Plan, T, A>, Plan::grid(rows.count),
                                     x.data<T>(), weight.data<A>(), bias.data<A>(), rows,
                                     A(epsilon), y.mutable_data<T>(), moments.mutable_data<A>());
  });
}

void layer_norm_gradient_x(const Tensor& dy, const Tensor& x, const Tensor& weight,
                           const Tensor& moments, Rows rows, Tensor& dx) {
  dispatch_rows(x.dtype(), "layer_norm", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("layer_norm", x.device())(layer_norm_gradient_kernel<Plan, T, A>, Plan::grid(rows.count),
                                     dy.data<T>(), x.data<T>(), weight.data<A>(), moments.data<A>(),
                                     rows, dx.mutable_data<T>());
  });
}

void layer_norm_gradient_parameters(const Tensor& dy, const Tensor& x, const Tensor& moments,
                                    Rows rows, Tensor& dweight, Tensor& dbias) {
  dispatch_kernel(x.dtype(), "layer_norm", [&](auto zero) {
    using T = decltype(zero);
    const LayerNormTerms<T> terms{dy.data<T>(), x.data<T>(), moments.data<Accumulated<T>>(),
                                  rows.width};
    sum_columns<T, 2>("layer_norm", rows.count, rows.width, rows.width, terms, {&dweight, &dbias});
  });
}

void rms_norm(const Tensor& x, const Tensor& weight, Rows rows, double epsilon, Tensor& y,
              Tensor& rates) {
  dispatch_rows(x.dtype(), "rms_norm", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("rms_norm", x.device())(rms_norm_kernel<Plan, T, A>, Plan::grid(rows.count), x.data<T>(),
                                   weight.data<A>(), rows, A(epsilon), y.mutable_data<T>(),
                                   rates.mutable_data<A>());
  });
}

void rms_norm_gradient_x(const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& rates, Rows rows, Tensor& dx) {
  dispatch_rows(x.dtype(), "rms_norm", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("rms_norm", x.device())(rms_norm_gradient_kernel<Plan, T, A>, Plan::grid(rows.count),
                                   dy.data<T>(), x.data<T>(), weight.data<A>(), rates.data<A>(),
                                   rows, dx.mutable_data<T>());
  });
}

void rms_norm_gradient_weight(const Tensor& dy, const Tensor& x, const Tensor& rates, Rows rows,
                              Tensor& dweight) {
  dispatch_kernel(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const RmsNormTerms<T> terms{dy.data<T>(), x.data<T>(), rates.data<Accumulated<T>>(),
                                rows.width};
    sum_columns<T, 1>("rms_norm", rows.count, rows.width, rows.width, terms, {&dweight});
  });
}

void unit(const Tensor& x, Rows rows, double floor, Tensor& y, Tensor& lengths) {
  dispatch_rows(x.dtype(), "unit", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("unit", x.device())(unit_kernel<Plan, T, A>, Plan::grid(rows.count), x.data<T>(), rows,
                               floor, y.mutable_data<T>(), lengths.mutable_data<A>());
  });
}

void unit_gradient(const Tensor& dy, const Tensor& y, const Tensor& lengths, Rows rows,
                   double floor, Tensor& dx) {
  dispatch_rows(dy.dtype(), "unit", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("unit", dy.device())(unit_gradient_kernel<Plan, T, A>, Plan::grid(rows.count),
                                dy.data<T>(), y.data<T>(), lengths.data<A>(), rows, floor,
                                dx.mutable_data<T>());
  });
}

}  // namespace vla::cuda
