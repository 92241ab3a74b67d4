// What every op asks of its inputs.
#pragma once

#include <initializer_list>

#include "framework/tensor.hpp"

namespace vla {

/// Throws Error that names `op` unless the inputs have one floating element type and are on one
/// device.
inline void check_inputs(const char* op, std::initializer_list<const Tensor*> inputs) {
  const Tensor& first = **inputs.begin();
  check(is_floating(first.dtype()), op, ": element type ", first.dtype(),
        " is not allowed; float32 or float64");
  for (const Tensor* input : inputs) {
    check(input->dtype() == first.dtype(), op, ": inputs are ", first.dtype(), " and ",
          input->dtype(), "; one element type is needed");
    check(input->device() == first.device(), op, ": inputs are on ", first.device(), " and ",
          input->device(), "; one device is needed");
  }
}

/// Throws Error that names `op` unless `x` is on the CPU.
inline void check_cpu(const char* op, const Tensor& x) {
  check(x.device().is_cpu(), op, ": no kernel for device ", x.device());
}

}  // namespace vla
