// The rules of the optimisers for one element, on both devices, and the numbers they need.
#pragma once

#include <cmath>

#include "framework/host_device.hpp"

namespace vla {

template <class T>
struct SgdConstants {
  T factor;  // of the gradient, from clipping
  T rate, momentum, decay;

  VLA_HOST_DEVICE explicit SgdConstants(const double* numbers)
      : factor(T(numbers[0])), rate(T(numbers[1])), momentum(T(numbers[2])), decay(T(numbers[3])) {}
};

template <class T>
struct AdamConstants {
  T factor;  // of the gradient, from clipping
  T rate, epsilon;
  T decay;           // share of the parameter added to the gradient
  T kept;            // share of the parameter that decoupled decay leaves
  T fresh1, fresh2;  // 1 - beta, taken in float64: in float32 it would be off by 5e-5
  T scale1;          // 1 / (1 - beta1^step), the bias correction of the first moment
  T root_scale2;     // 1 / sqrt(1 - beta2^step)

  VLA_HOST_DEVICE explicit AdamConstants(const double* numbers)
      : factor(T(numbers[0])),
        rate(T(numbers[1])),
        epsilon(T(numbers[2])),
        decay(T(numbers[3])),
        kept(T(numbers[4])),
        fresh1(T(numbers[5])),
        fresh2(T(numbers[6])),
        scale1(T(numbers[7])),
        root_scale2(T(numbers[8])) {}
};

/// p <- p - rate g
template <class T>
VLA_HOST_DEVICE inline void sgd_rule(const SgdConstants<T>& at, T gradient, T& p) {
  p -= at.rate * (at.factor * gradient + at.decay * p);
}

/// v <- momentum v + g; p <- p - rate v
template <class T>
VLA_HOST_DEVICE inline void momentum_rule(const SgdConstants<T>& at, T gradient, T& p, T& v) {
  v = at.momentum * v + (at.factor * gradient + at.decay * p);
  p -= at.rate * v;
}

template <class T>
VLA_HOST_DEVICE inline void adam_rule(const AdamConstants<T>& at, T gradient, T& p, T& m, T& v) {
  using std::sqrt;
  const T g = at.factor * gradient + at.decay * p;
  m += at.fresh1 * (g - m);
  v += at.fresh2 * (g * g - v);
  const T step = at.scale1 * m / (at.root_scale2 * sqrt(v) + at.epsilon);
  p = at.kept * p - at.rate * step;
}

}  // namespace vla
