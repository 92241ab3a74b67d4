// Matrix products on plain row-major arrays, through OpenBLAS.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

enum class Transpose { no, yes };

/// C = alpha op(A) op(B) + beta C on one thread, op(A) m x k, op(B) k x n, C m x n; `lda`, `ldb`,
/// `ldc` are row strides. beta 0 overwrites C whatever it held. T is float or double.
template <class T>
void gemm(Transpose a_op, Transpose b_op, Index m, Index n, Index k, T alpha, const T* a, Index lda,
          const T* b, Index ldb, T beta, T* c, Index ldc);

/// The same with the rows of C spread over the threads of parallel_for.
template <class T>
void parallel_gemm(Transpose a_op, Transpose b_op, Index m, Index n, Index k, T alpha, const T* a,
                   Index lda, const T* b, Index ldb, T beta, T* c, Index ldc);

}  // namespace vla
