// The kernels of tensor.cpp on CUDA; they are in tensor.cu.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

/// Every element of `into` becomes `value`.
void fill(double value, Tensor& into);
/// begin, begin + 1, ... into an int64 tensor.
void count_from(Index begin, Tensor& into);
/// The elements of `from` as those of `into`, of another type.
void convert(const Tensor& from, Tensor& into);
/// into += value; of one floating type.
void accumulate(const Tensor& value, Tensor& into);

/// counts[place] += more, for an int64 tensor.
void go_on(std::uint64_t more, Tensor& counts, Index place);

}  // namespace vla::cuda
