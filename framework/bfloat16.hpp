// The upper half of a float32: its range, with 8 significant bits. A format of storage: arithmetic
// is done in float.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

#include "framework/host_device.hpp"

namespace vla {

/// A bfloat16: what tensors of DType::bfloat16 are made of.
struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  /// Rounds to the nearest, ties to even.
  VLA_HOST_DEVICE explicit BFloat16(float value) {
#ifdef __CUDA_ARCH__
    bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const auto word = std::bit_cast<std::uint32_t>(value);
    const bool nan = value != value;
    const std::uint32_t rounded = word + 0x7FFF + ((word >> 16) & 1);
    bits = static_cast<std::uint16_t>(nan ? (word >> 16) | 0x40 : rounded >> 16);
#endif
  }
  /// From any other number, by way of float.
  template <class Number>
  requires std::is_arithmetic_v<Number> VLA_HOST_DEVICE explicit BFloat16(Number value)
      : BFloat16(static_cast<float>(value)) {}

  /// The same number as a float, exactly.
  VLA_HOST_DEVICE operator float() const {
    const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
#ifdef __CUDA_ARCH__
    return __uint_as_float(word);
#else
    return std::bit_cast<float>(word);
#endif
  }
};

/// What sums and functions of elements of type T are computed in.
template <class T>
using Accumulated = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;

}  // namespace vla
