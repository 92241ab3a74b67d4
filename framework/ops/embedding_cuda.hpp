// The kernels of embedding.cpp on CUDA; they are in embedding.cu.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

/// y = the tokens' rows of the table. A token out of range is reported to the device's note, and
/// its row is zeros.
void gather_rows(const Tensor& table, const Tensor& tokens, Tensor& y);

/// Every row of dtable = the sum of dy over the places where its token stands, in their order.
void scatter_rows(const Tensor& dy, const Tensor& tokens, Tensor& dtable);

}  // namespace vla::cuda
