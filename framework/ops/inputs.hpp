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

/// The same of an activation and the parameters that are applied to it: of its element type, or
/// float32 where the activation is bfloat16.
inline void check_parameters(const char* op, const Tensor& x,
                             std::initializer_list<const Tensor*> parameters) {
  check_inputs(op, {&x});
  const DType needed = x.dtype() == DType::bfloat16 ? DType::float32 : x.dtype();
  for (const Tensor* parameter : parameters) {
    check(parameter->dtype() == needed, op, ": x is ", x.dtype(), ", a parameter ",
          parameter->dtype(), "; ", needed, " is needed");
    check(parameter->device() == x.device(), op, ": x is on ", x.device(), ", a parameter on ",
          parameter->device(), "; one device is needed");
  }
}

}  // namespace vla
