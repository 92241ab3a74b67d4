// y = f(x), element by element. One struct makes an op, forward and gradient:
//
//   struct Swish {  // y = x sigmoid(x)
//     static constexpr auto name = "swish";
//     template <class T> VLA_HOST_DEVICE static T value(T x) { ... }
//     template <class T> VLA_HOST_DEVICE static T slope(T x, T y) { ... }  // dy/dx, y = value(x)
//   };
//   Var swish(const Var& x) { return elementwise<Swish>(x); }
//
// A struct with constants has them as members, and its functions are then const, not static.
//
// The op works on CUDA where the file that calls `elementwise` is compiled as CUDA. Elsewhere the
// call on a CUDA tensor throws Error with the op's name, but for a struct that says
// `static constexpr bool has_cuda_kernel = true;`: then a file that is compiled as CUDA must hold
// `template struct vla::cuda::Elementwise<Swish>;`.
#pragma once

#include "framework/host_device.hpp"
#include "framework/ops/vector_math.hpp"
#include "framework/parallel.hpp"
#include "framework/tape.hpp"

#ifdef __CUDACC__
#include "framework/cuda/kernel.cuh"
#endif

namespace vla {

/// Elements below which a second thread costs more than it saves.
inline constexpr Index kElementwiseGrain = 1 << 13;

/// Whether Function has `value<T>(x)`, a function of one number, and `slope<T>(x, y)`; for
/// `const Function`, whether they are static or const.
///@{
template <class Function>
concept HasValue = requires(Function& f, double x) {
  f.template value<double>(x);
};
template <class Function>
concept HasSlope = requires(Function& f, double x) {
  f.template slope<double>(x, x);
};
///@}

/// Whether Function says that its kernels are in another file.
template <class Function>
concept HasCudaKernel = requires {
  requires Function::has_cuda_kernel;
};

/// Whether `elementwise` can make an op of Function; if not, the compiler says in a sentence why.
template <class Function>
constexpr bool is_elementwise() {
  static_assert(HasValue<Function>,
                "an elementwise struct needs a value: template <class T> static T value(T x)");
  static_assert(HasSlope<Function>,
                "an elementwise struct needs a slope, which is dy/dx: "
                "template <class T> static T slope(T x, T y)");
  static_assert(!HasValue<Function> || HasValue<const Function>,
                "the value of an elementwise struct must be const or static: T value(T x) const");
  static_assert(
      !HasSlope<Function> || HasSlope<const Function>,
      "the slope of an elementwise struct must be const or static: T slope(T x, T y) const");
  return HasValue<const Function> && HasSlope<const Function>;
}

namespace cuda {

/// The kernels of Function, which are in a file that is compiled as CUDA.
template <class Function>
struct Elementwise {
  /// y = f(x), and dx = dy slope(x, y), on the device of x.
  ///@{
  static void map(const Function& f, const Tensor& x, Tensor& y);
  static void map_gradient(const Function& f, const Tensor& dy, const Tensor& x, const Tensor& y,
                           Tensor& dx);
  ///@}
};

}  // namespace cuda

/// Whether this file is compiled as CUDA; part of the templates' names, so that a file that is and
/// one that is not can use one struct.
#ifdef __CUDACC__
inline constexpr bool kCompiledAsCuda = true;
#else
inline constexpr bool kCompiledAsCuda = false;
#endif

/// Runs `on_cpu` or `on_cuda`, as on_device does, where there is a kernel of Function.
template <class Function, bool as_cuda, class OnCpu, class OnCuda>
void elementwise_on(Device device, OnCpu&& on_cpu, OnCuda&& on_cuda) {
  if constexpr (as_cuda || HasCudaKernel<Function>)
    on_device(Function::name, device, on_cpu, on_cuda);
  else
    on_device(Function::name, device, on_cpu, [] {
      fail(Function::name,
           ": the file that calls it is not compiled as CUDA, so there is no kernel "
           "for a CUDA device");
    });
}

/// f(x) for every element of x.
template <class Function, bool as_cuda = kCompiledAsCuda>
Tensor map(const Function& f, const Tensor& x) {
  Tensor result = empty_like(x);
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), Function::name, [&](auto zero) {
      using T = decltype(zero);
      const T* in = x.data<T>();
      T* out = result.mutable_data<T>();
      parallel_for(x.elements(), kElementwiseGrain, [&f, in, out](Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) out[i] = f.template value<T>(in[i]);
      });
    });
  };
  elementwise_on<Function, as_cuda>(x.device(), on_cpu,
                                    [&] { cuda::Elementwise<Function>::map(f, x, result); });
  return result;
}

/// dy * slope(x, y) for every element: the gradient of `map`.
template <class Function, bool as_cuda = kCompiledAsCuda>
Tensor map_gradient(const Function& f, const Tensor& dy, const Tensor& x, const Tensor& y) {
  Tensor result = empty_like(x);
  const auto on_cpu = [&] {
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
  };
  elementwise_on<Function, as_cuda>(
      x.device(), on_cpu, [&] { cuda::Elementwise<Function>::map_gradient(f, dy, x, y, result); });
  return result;
}

/// The differentiable op that `Function` describes, on x of any shape.
template <class Function, bool as_cuda = kCompiledAsCuda>
Var elementwise(const Var& x, Function f = {}, CallSite site = CallSite::here()) {
  if constexpr (!is_elementwise<Function>()) {
    return x;  // the compiler has refused it already, and is spared what follows from that
  } else {
    Tensor y = map<Function, as_cuda>(f, x.value());
    return record(
        Function::name, y, {x}, {x.value(), y},
        [f](const BackwardContext& at) -> std::vector<Tensor> {
          return {map_gradient<Function, as_cuda>(f, at.gradient(), at.saved(0), at.saved(1))};
        },
        site);
  }
}

#ifdef __CUDACC__
namespace cuda {

// bfloat16 is computed in float.
template <class Function, class T>
__global__ void map_kernel(Function f, const T* x, T* y, Index count) {
  using A = Accumulated<T>;
  constexpr int size = Pack<T>::kSize;
  const Index packs = count / size;
  for (Index i = thread_index(); i < packs; i += thread_total()) {
    const Pack<T> in = reinterpret_cast<const Pack<T>*>(x)[i];
    Pack<T> out;
#pragma unroll
    for (int j = 0; j < size; ++j) out.elements[j] = T(f.template value<A>(A(in.elements[j])));
    reinterpret_cast<Pack<T>*>(y)[i] = out;
  }
  const Index rest = packs * size + thread_index();
  if (rest < count) y[rest] = T(f.template value<A>(A(x[rest])));
}

template <class Function, class T>
__global__ void map_gradient_kernel(Function f, const T* dy, const T* x, const T* y, T* dx,
                                    Index count) {
  using A = Accumulated<T>;
  constexpr int size = Pack<T>::kSize;
  const Index packs = count / size;
  for (Index i = thread_index(); i < packs; i += thread_total()) {
    const Pack<T> upstream = reinterpret_cast<const Pack<T>*>(dy)[i];
    const Pack<T> in = reinterpret_cast<const Pack<T>*>(x)[i];
    const Pack<T> out = reinterpret_cast<const Pack<T>*>(y)[i];
    Pack<T> gradient;
#pragma unroll
    for (int j = 0; j < size; ++j)
      gradient.elements[j] =
          T(A(upstream.elements[j]) * f.template slope<A>(A(in.elements[j]), A(out.elements[j])));
    reinterpret_cast<Pack<T>*>(dx)[i] = gradient;
  }
  const Index rest = packs * size + thread_index();
  if (rest < count) dx[rest] = T(A(dy[rest]) * f.template slope<A>(A(x[rest]), A(y[rest])));
}

template <class T>
Grid grid_for_packs(Index count) {
  return grid_for((count + Pack<T>::kSize - 1) / Pack<T>::kSize);
}

template <class Function>
void Elementwise<Function>::map(const Function& f, const Tensor& x, Tensor& y) {
  dispatch_kernel(x.dtype(), Function::name, [&](auto zero) {
    using T = decltype(zero);
    Launch(Function::name, x.device())(map_kernel<Function, T>, grid_for_packs<T>(x.elements()), f,
                                       x.data<T>(), y.mutable_data<T>(), x.elements());
  });
}

template <class Function>
void Elementwise<Function>::map_gradient(const Function& f, const Tensor& dy, const Tensor& x,
                                         const Tensor& y, Tensor& dx) {
  dispatch_kernel(x.dtype(), Function::name, [&](auto zero) {
    using T = decltype(zero);
    Launch(Function::name, x.device())(
        map_gradient_kernel<Function, T>, grid_for_packs<T>(x.elements()), f, dy.data<T>(),
        x.data<T>(), y.data<T>(), dx.mutable_data<T>(), x.elements());
  });
}

}  // namespace cuda
#endif

}  // namespace vla
