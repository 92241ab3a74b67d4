// The functions of pointwise.hpp: each with its value and its slope, for CPU and CUDA.
#pragma once

#include <cmath>
#include <numbers>

#include "framework/ops/elementwise.hpp"

namespace vla::pointwise {

struct Neg {
  static constexpr auto name = "neg";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return -x;
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T, T) {
    return -1;
  }
};

struct Abs {
  static constexpr auto name = "abs";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return x < 0 ? -x : x;
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    return T(x > 0) - T(x < 0);
  }
};

struct Exp {
  static constexpr auto name = "exp";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::exp;
    return exp(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T, T y) {
    return y;
  }
};

struct Log {
  static constexpr auto name = "log";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::log;
    return log(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    return 1 / x;
  }
};

struct Sqrt {
  static constexpr auto name = "sqrt";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::sqrt;
    return sqrt(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T, T y) {
    return T(0.5) / y;
  }
};

struct Square {
  static constexpr auto name = "square";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return x * x;
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    return 2 * x;
  }
};

struct Power {
  static constexpr auto name = "pow";
  static constexpr bool has_cuda_kernel = true;
  double exponent = 1;
  template <class T>
  VLA_HOST_DEVICE T value(T x) const {
    using std::pow;
    return pow(x, T(exponent));
  }
  template <class T>
  VLA_HOST_DEVICE T slope(T x, T) const {
    using std::pow;
    return exponent == 0 ? T(0) : T(exponent) * pow(x, T(exponent - 1));
  }
};

struct Tanh {
  static constexpr auto name = "tanh";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::tanh;
    return tanh(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T, T y) {
    return 1 - y * y;
  }
};

template <class T>
VLA_HOST_DEVICE T logistic(T x) {
  using std::exp;
  return 1 / (1 + exp(-x));
}

struct Sigmoid {
  static constexpr auto name = "sigmoid";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return logistic(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T, T y) {
    return y * (1 - y);
  }
};

struct Silu {
  static constexpr auto name = "silu";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return x * logistic(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T y) {
    const T s = logistic(x);
    return s + y * (1 - s);
  }
};

struct Relu {
  static constexpr auto name = "relu";
  static constexpr bool has_cuda_kernel = true;
  // Written so that NaN stays NaN: an error must not be hidden.
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return x < 0 ? T(0) : x;
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    return x > 0 ? T(1) : T(0);
  }
};

struct Gelu {
  static constexpr auto name = "gelu";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T cumulative(T x) {
    using std::erf;
    return T(0.5) * (1 + erf(x * T(0.5 * std::numbers::sqrt2)));
  }
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    return x * cumulative(x);
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    using std::exp;
    const T density =
        T(0.5 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi) * exp(T(-0.5) * x * x);
    return cumulative(x) + x * density;
  }
};

struct GeluTanh {
  static constexpr auto name = "gelu_tanh";
  static constexpr bool has_cuda_kernel = true;
  static constexpr double kScale = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
  static constexpr double kCubic = 0.044715;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::tanh;
    return T(0.5) * x * (1 + tanh(T(kScale) * (x + T(kCubic) * x * x * x)));
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    using std::tanh;
    // From far out on the slope is 0 or 1 exactly; the squares of x would overflow to 0 * infinity.
    constexpr T kFar = 100;
    x = x < -kFar ? -kFar : x > kFar ? kFar : x;
    const T t = tanh(T(kScale) * (x + T(kCubic) * x * x * x));
    return T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * T(kScale) * (1 + T(3 * kCubic) * x * x);
  }
};

struct Elu {
  static constexpr auto name = "elu";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::expm1;
    return expm1(x > 0 ? T(0) : x) + (x > 0 ? x : T(0));  // no branch, as in EluPlusOne
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T y) {
    return x > 0 ? T(1) : y + 1;
  }
};

struct EluPlusOne {
  static constexpr auto name = "elu_plus_one";
  static constexpr bool has_cuda_kernel = true;
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::exp;
    // One of the terms is 0 or 1. Without a branch around exp, loops vectorise.
    return exp(x > 0 ? T(0) : x) + (x > 0 ? x : T(0));
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T y) {
    return x > 0 ? T(1) : y;
  }
};

struct Softplus {
  static constexpr auto name = "softplus";
  static constexpr bool has_cuda_kernel = true;
  // Split by sign so that exp never overflows.
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::exp, std::log1p;
    return (x > 0 ? x : T(0)) + log1p(exp(x > 0 ? -x : x));
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T) {
    return logistic(x);
  }
};

struct Clamp {
  static constexpr auto name = "clamp";
  static constexpr bool has_cuda_kernel = true;
  double low = 0, high = 0;
  template <class T>
  VLA_HOST_DEVICE T value(T x) const {
    return x < T(low) ? T(low) : x > T(high) ? T(high) : x;
  }
  template <class T>
  VLA_HOST_DEVICE T slope(T x, T) const {
    return x < T(low) || x > T(high) ? T(0) : T(1);
  }
};

}  // namespace vla::pointwise
