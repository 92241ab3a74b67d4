// Softmax attention on CUDA; it is in softmax_attention.cu.
#pragma once

#include "models/softmax_transformer/softmax_attention.hpp"

namespace vla::cuda {

/// Whether the kernels are there for these sizes and this type, and their shared memory on the
/// device.
bool has_softmax_attention(const SoftmaxAttentionSizes& n, DType dtype, Device device);

/// o, and per query (B, H, T), float32, the logarithm to base 2 of the sum of its exp(scores).
void softmax_attention(const SoftmaxAttentionSizes& n, const Tensor& q, const Tensor& k,
                       const Tensor& v, Tensor& o, Tensor& log_sums);
void softmax_attention_gradient(const SoftmaxAttentionSizes& n, const Tensor& q, const Tensor& k,
                                const Tensor& v, const Tensor& o, const Tensor& log_sums,
                                const Tensor& d_o, Tensor& dq, Tensor& dk, Tensor& dv);

}  // namespace vla::cuda
