#include "framework/ops/convolution.hpp"

#include <algorithm>

#include "framework/ops/convolution_cuda.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/rows.hpp"

namespace vla {
namespace {

struct Sizes {
  Index batch, time, width, taps;
};

Sizes convolution_sizes(const Tensor& x, const Tensor& weight) {
  check_parameters("causal_convolution", x, {&weight});
  check(x.rank() == 3, "causal_convolution: x has shape ", x.shape(), "; (B, T, D) is needed");
  check(weight.rank() == 2 && weight.size(0) == x.size(2) && weight.size(1) >= 1,
        "causal_convolution: weight has shape ", weight.shape(), "; (", x.size(2),
        ", taps) with 1 tap or more is needed for x ", x.shape());
  return {x.size(0), x.size(1), x.size(2), weight.size(1)};
}

// The transpose of an (n, m) matrix: taps over channels (w, D) lie along the rows of x.
template <class T>
Tensor transposed(const Tensor& matrix) {
  const Index n = matrix.size(0), m = matrix.size(1);
  Tensor result({m, n}, matrix.dtype(), matrix.device());
  const T* from = matrix.data<T>();
  T* into = result.mutable_data<T>();
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < m; ++j) into[j * n + i] = from[i * m + j];
  return result;
}

// y[c] += weight[c] x[c]
template <class T>
void add_product(const T* weight, const T* x, T* y, Index width) {
#pragma omp simd
  for (Index c = 0; c < width; ++c) y[c] += weight[c] * x[c];
}

// y[b,t,c] = sum_j weight[c,j] x[b,t-(w-1)+j,c]
template <class T>
void convolve(const Tensor& x, const Tensor& weight, Sizes size, Tensor& y) {
  const Tensor by_tap = transposed<T>(weight);
  const T *in = x.data<T>(), *tap = by_tap.data<T>();
  T* out = y.mutable_data<T>();
  parallel_for(size.batch * size.time, row_grain(size.width), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const Index back = std::min(row % size.time, size.taps - 1);  // earlier tokens to read
      T* into = out + row * size.width;
      std::fill_n(into, size.width, T(0));
      for (Index ago = 0; ago <= back; ++ago)
        add_product(tap + (size.taps - 1 - ago) * size.width, in + (row - ago) * size.width, into,
                    size.width);
    }
  });
}

// dx[b,s,c] = sum_j weight[c,j] dy[b,s+(w-1)-j,c]
template <class T>
void convolve_gradient_x(const Tensor& dy, const Tensor& weight, Sizes size, Tensor& dx) {
  const Tensor by_tap = transposed<T>(weight);
  const T *upstream = dy.data<T>(), *tap = by_tap.data<T>();
  T* gradient = dx.mutable_data<T>();
  parallel_for(size.batch * size.time, row_grain(size.width), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const Index ahead = std::min(size.time - 1 - row % size.time, size.taps - 1);
      T* into = gradient + row * size.width;
      std::fill_n(into, size.width, T(0));
      for (Index later = 0; later <= ahead; ++later)
        add_product(tap + (size.taps - 1 - later) * size.width,
                    upstream + (row + later) * size.width, into, size.width);
    }
  });
}

// dweight[c,j] = sum_{b,t} dy[b,t,c] x[b,t-(w-1)+j,c]
template <class T>
Tensor convolve_gradient_weight(const Tensor& dy, const Tensor& x, Sizes size) {
  const T *upstream = dy.data<T>(), *in = x.data<T>();
  const Tensor by_tap =
      sum_over_rows<T>(size.batch * size.time, size.taps * size.width, [&](Index row, T* sums) {
        const Index back = std::min(row % size.time, size.taps - 1);
        for (Index ago = 0; ago <= back; ++ago)
          add_product(upstream + row * size.width, in + (row - ago) * size.width,
                      sums + (size.taps - 1 - ago) * size.width, size.width);
      });
  return transposed<T>(by_tap.reshape(Shape{size.taps, size.width}));
}

// The gradients of x and weight that are wanted.
std::vector<Tensor> convolution_gradient(const BackwardContext& at, Sizes size) {
  const Tensor &dy = at.gradient(), &x = at.saved(0), &weight = at.saved(1);
  Tensor dx, dweight;
  if (at.wants(0)) {
    dx = empty_like(x);
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), "causal_convolution", [&](auto zero) {
        convolve_gradient_x<decltype(zero)>(dy, weight, size, dx);
      });
    };
    on_device("causal_convolution", x.device(), on_cpu,
              [&] { cuda::causal_convolution_gradient_x(dy, weight, dx); });
  }
  if (at.wants(1)) {
    dweight = empty_like(weight);
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), "causal_convolution", [&](auto zero) {
        dweight = convolve_gradient_weight<decltype(zero)>(dy, x, size);
      });
    };
    on_device("causal_convolution", x.device(), on_cpu,
              [&] { cuda::causal_convolution_gradient_weight(dy, x, dweight); });
  }
  return {dx, dweight};
}

}  // namespace

Var causal_convolution(const Var& x, const Var& weight, CallSite site) {
  const Tensor &in = x.value(), &taps = weight.value();
  const Sizes size = convolution_sizes(in, taps);
  Tensor y = empty_like(in);
  const auto on_cpu = [&] {
    dispatch_floating(in.dtype(), "causal_convolution",
                      [&](auto zero) { convolve<decltype(zero)>(in, taps, size, y); });
  };
  on_device("causal_convolution", in.device(), on_cpu,
            [&] { cuda::causal_convolution(in, taps, y); });
  return record(
      "causal_convolution", y, {x, weight}, {in, taps},
      [size](const BackwardContext& at) { return convolution_gradient(at, size); }, site);
}

}  // namespace vla
