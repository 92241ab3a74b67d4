// Matrix products on a CUDA device, through cuBLAS; they are in blas.cu.
#pragma once

#include "framework/ops/blas.hpp"

namespace vla::cuda {

/// Row-major matrices in a tensor's memory: `stride` elements from row to row, `step` from one
/// matrix to the next (0: one matrix that all products share).
struct Operand {
  const Tensor* matrices;
  Index stride, step;
};

/// C_i = op(A_i) op(B_i) + beta C_i for i < batch, with op(A) m x k, op(B) k x n and C m x n one
/// after the other in `c`; see vla::gemm. A and B are of one type; C is of it too, or float32 where
/// they are bfloat16. Sums of bfloat16 are taken in float32. Launched on behalf of `op`.
void gemm(const char* op, Transpose a_op, Transpose b_op, Index m, Index n, Index k,
          const Operand& a, const Operand& b, double beta, Tensor& c, Index batch = 1);

/// y = x W^T + bias for x (m, k), W (n, k), bias (n), all of one type; in one launch. Returns
/// false, with nothing done, for float64 and where cuBLASLt has no way for these sizes.
bool gemm_with_bias(const char* op, Index m, Index n, Index k, const Tensor& x,
                    const Tensor& weight, const Tensor& bias, Tensor& y);

}  // namespace vla::cuda
