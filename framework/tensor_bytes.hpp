// The bytes of a tensor on the CPU, for what reads and writes files.
#pragma once

#include <cstddef>
#include <span>

#include "framework/tensor.hpp"

namespace vla {

inline std::span<std::byte> writable_bytes(Tensor& tensor) {
  return dispatch_any(tensor.dtype(), [&](auto zero) {
    return std::as_writable_bytes(tensor.mutable_values<decltype(zero)>());
  });
}

inline std::span<const std::byte> readable_bytes(const Tensor& tensor) {
  return dispatch_any(tensor.dtype(),
                      [&](auto zero) { return std::as_bytes(tensor.values<decltype(zero)>()); });
}

}  // namespace vla
