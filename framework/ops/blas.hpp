// Matrix products and eigenvalues on plain row-major arrays, through OpenBLAS.
#pragma once

#include "framework/tensor.hpp"

namespace vla {

enum class Transpose { no, yes };

/// C = alpha op(A) op(B) + beta C on one thread, op(A) m x k, op(B) k x n, C m x n; `lda`, `ldb`,
/// `ldc` are row strides, in elements, of the matrices as stored: A is m x k, or k x m if it is to
/// be transposed. beta 0 overwrites C whatever it held. T is float or double. C must overlap
/// neither A nor B. Throws Error for a size that BLAS cannot count in 32 bits.
template <class T>
void gemm(Transpose a_op, Transpose b_op, Index m, Index n, Index k, T alpha, const T* a, Index lda,
          const T* b, Index ldb, T beta, T* c, Index ldc);

/// The same with the rows of C spread over the threads of parallel_for.
template <class T>
void parallel_gemm(Transpose a_op, Transpose b_op, Index m, Index n, Index k, T alpha, const T* a,
                   Index lda, const T* b, Index ldb, T beta, T* c, Index ldc);

/// Writes the n eigenvalues of the symmetric matrix `a` (n, n), which is spoilt, in ascending
/// order; n >= 1; on one thread. Only one triangle is read. Throws Error if LAPACK's iteration does
/// not converge; every element must be finite.
void symmetric_eigenvalues(double* a, Index n, double* eigenvalues);

}  // namespace vla
