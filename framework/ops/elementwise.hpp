// y = f(x), element by element. One struct makes an op, forward and gradient:
//
//   struct Swish {  // y = x sigmoid(x)
//     static constexpr auto name = "swish";
//     template <class T> VLA_HOST_DEVICE static T value(T x) { ... }
//     template <class T> VLA_HOST_DEVICE static T slope(T x, T y) { ... }  // dy/dx, y = value(x)
//   };
//   Var swish(const Var& x) { return elementwise<Swish>(x); }
//
// A struct with constants has them as members, and its functions are then not static.
#pragma once

#include "framework/host_device.hpp"
#include "framework/ops/vector_math.hpp"
#include "framework/parallel.hpp"
#include "framework/tape.hpp"

namespace vla {

/// Elements below which a second thread costs more than it saves.
inline constexpr Index kElementwiseGrain = 1 << 13;

/// f(x) for every element of x.
template <class Function>
Tensor map(const Function& f, const Tensor& x) {
  check(x.device().is_cpu(), Function::name, ": no kernel for device ", x.device());
  Tensor result = empty_like(x);
  dispatch_floating(x.dtype(), Function::name, [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    T* out = result.mutable_data<T>();
    parallel_for(x.elements(), kElementwiseGrain, [&f, in, out](Index begin, Index end) {
#pragma omp simd
      for (Index i = begin; i < end; ++i) out[i] = f.template value<T>(in[i]);
    });
  });
  return result;
}

/// dy * slope(x, y) for every element: the gradient of `map`.
template <class Function>
Tensor map_gradient(const Function& f, const Tensor& dy, const Tensor& x, const Tensor& y) {
  check(x.device().is_cpu(), Function::name, ": no kernel for device ", x.device());
  Tensor result = empty_like(x);
  dispatch_floating(x.dtype(), Function::name, [&](auto zero) {
    using T = decltype(zero);
    const T *upstream = dy.data<T>(), *in = x.data<T>(), *out = y.data<T>();
    T* gradient = result.mutable_data<T>();
    parallel_for(x.elements(), kElementwiseGrain, [=, &f](Index begin, Index end) {
#pragma omp simd
      for (Index i = begin; i < end; ++i)
        gradient[i] = upstream[i] * f.template slope<T>(in[i], out[i]);
    });
  });
  return result;
}

/// The differentiable op that `Function` describes, on x of any shape.
template <class Function>
Var elementwise(const Var& x, Function f = {}, CallSite site = CallSite::here()) {
  Tensor y = map(f, x.value());
  return record(
      Function::name, y, {x}, {x.value(), y},
      [f](const BackwardContext& at) -> std::vector<Tensor> {
        return {map_gradient(f, at.gradient(), at.saved(0), at.saved(1))};
      },
      site);
}

}  // namespace vla
