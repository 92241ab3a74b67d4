// The functions of arithmetic.hpp, for elements and, on the CPU, for xtensor's expressions.
#pragma once

#include "framework/ops/elementwise.hpp"

namespace vla::arithmetic {

struct Add {
  static constexpr auto name = "add";
  VLA_HOST_DEVICE static auto value(const auto& a, const auto& b) { return a + b; }
};
struct Sub {
  static constexpr auto name = "sub";
  VLA_HOST_DEVICE static auto value(const auto& a, const auto& b) { return a - b; }
};
struct Mul {
  static constexpr auto name = "mul";
  VLA_HOST_DEVICE static auto value(const auto& a, const auto& b) { return a * b; }
};
struct Div {
  static constexpr auto name = "div";
  VLA_HOST_DEVICE static auto value(const auto& a, const auto& b) { return a / b; }
};

struct Scale {
  static constexpr auto name = "scale";
  static constexpr bool has_cuda_kernel = true;
  double factor = 1;
  template <class T>
  VLA_HOST_DEVICE T value(T x) const {
    return T(factor) * x;
  }
};
struct Shift {
  static constexpr auto name = "shift";
  static constexpr bool has_cuda_kernel = true;
  double offset = 0;
  template <class T>
  VLA_HOST_DEVICE T value(T x) const {
    return x + T(offset);
  }
};

}  // namespace vla::arithmetic
