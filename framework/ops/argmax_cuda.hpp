// The kernel of argmax.cpp on CUDA; it is in argmax.cu.
#pragma once

#include "framework/ops/rows.hpp"

namespace vla::cuda {

/// places (rows): see argmax().
void argmax(const Tensor& x, Rows rows, Tensor& places);

}  // namespace vla::cuda
