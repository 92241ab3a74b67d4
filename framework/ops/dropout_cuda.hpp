// The kernel of dropout.cpp on CUDA; it is in dropout.cu.
#pragma once

#include <cstdint>

#include "framework/random.hpp"
#include "framework/tensor.hpp"

namespace vla::cuda {

/// y = x / (1 - rate) where the element is kept, 0 elsewhere. The random words are those from
/// `state` on, and `*ahead` words further if `ahead` is not null: a place in the device's memory,
/// for kernels that are begun again by a graph.
void dropout(const Tensor& x, const RandomState& state, const std::int64_t* ahead, double rate,
             Tensor& y);

}  // namespace vla::cuda
