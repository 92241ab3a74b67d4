#include "framework/ops/blas.hpp"

#include <cblas.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "framework/parallel.hpp"

// The LAPACK inside OpenBLAS, which comes without a C header. The last two arguments are the
// lengths of the texts, as Fortran passes them.
extern "C" void dsyev_(const char* job, const char* triangle, const blasint* n, double* a,
                       const blasint* stride, double* eigenvalues, double* work,
                       const blasint* work_size, blasint* info, std::size_t, std::size_t);

namespace vla {
namespace {

// Below this much work a second thread costs more than it saves.
constexpr Index kMultiplicationsPerPiece = 500'000;
// Panels are cut at multiples of this, so that the inner kernel of BLAS meets few odd edges.
constexpr Index kPanel = 16;

CBLAS_TRANSPOSE cblas_transpose(Transpose op) {
  return op == Transpose::yes ? CblasTrans : CblasNoTrans;
}

blasint blas_size(Index size) {
  check(size >= 0 && size <= std::numeric_limits<blasint>::max(), "gemm: size ", size,
        " is not allowed; 0 to ", std::numeric_limits<blasint>::max());
  return static_cast<blasint>(size);
}

// BLAS gets one thread, because its pool and ours on the same cores would fight.
void use_one_blas_thread() {
  static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

template <class T>
void scale_rows(Index m, Index n, T beta, T* c, Index ldc) {
  if (beta == 1) return;
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) c[i * ldc + j] = beta == 0 ? T(0) : beta * c[i * ldc + j];
}

// The number of units a piece of work holds at least, each unit taking `multiplications`.
Index grain_of(Index multiplications) {
  return std::max<Index>(1, kMultiplicationsPerPiece / std::max<Index>(1, multiplications));
}

}  // namespace

template <class T>
void gemm(Transpose a_op, Transpose b_op, Index m, Index n, Index k, T alpha, const T* a, Index lda,
          const T* b, Index ldb, T beta, T* c, Index ldc) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0) return scale_rows(m, n, beta, c, ldc);
  use_one_blas_thread();
  if constexpr (std::is_same_v<T, float>)
    cblas_sgemm(CblasRowMajor, cblas_transpose(a_op), cblas_transpose(b_op), blas_size(m),
                blas_size(n), blas_size(k), alpha, a, blas_size(lda), b, blas_size(ldb), beta, c,
                blas_size(ldc));
  else
    cblas_dgemm(CblasRowMajor, cblas_transpose(a_op), cblas_transpose(b_op), blas_size(m),
                blas_size(n), blas_size(k), alpha, a, blas_size(lda), b, blas_size(ldb), beta, c,
                blas_size(ldc));
}

template <class T>
void parallel_gemm(Transpose a_op, Transpose b_op, Index m, Index n, Index k, T alpha, const T* a,
                   Index lda, const T* b, Index ldb, T beta, T* c, Index ldc) {
  // Every thread reads the whole of the side that is not cut, so the longer side is cut.
  if (m >= n) {
    // A panel of rows of C needs the same rows of op(A): columns of A when it is transposed.
    const Index a_step = a_op == Transpose::no ? lda : 1;
    parallel_for((m + kPanel - 1) / kPanel, grain_of(kPanel * n * k), [&](Index begin, Index end) {
      const Index first = begin * kPanel, last = std::min(end * kPanel, m);
      gemm(a_op, b_op, last - first, n, k, alpha, a + first * a_step, lda, b, ldb, beta,
           c + first * ldc, ldc);
    });
  } else {
    const Index b_step = b_op == Transpose::no ? 1 : ldb;
    parallel_for((n + kPanel - 1) / kPanel, grain_of(kPanel * m * k), [&](Index begin, Index end) {
      const Index first = begin * kPanel, last = std::min(end * kPanel, n);
      gemm(a_op, b_op, m, last - first, k, alpha, a, lda, b + first * b_step, ldb, beta, c + first,
           ldc);
    });
  }
}

void symmetric_eigenvalues(double* a, Index n, double* eigenvalues) {
  use_one_blas_thread();
  // dsyev's best work size is (block + 2) n, and its blocks are of 32.
  std::vector<double> work(static_cast<std::size_t>(34 * n));
  const blasint size = blas_size(n), work_size = blas_size(34 * n);
  blasint info = 0;
  dsyev_("N", "U", &size, a, &size, eigenvalues, work.data(), &work_size, &info, 1, 1);
  check(info == 0, "symmetric_eigenvalues: LAPACK's dsyev gave up on a (", n, ", ", n,
        ") matrix with code ", info);
}

template void gemm<float>(Transpose, Transpose, Index, Index, Index, float, const float*, Index,
                          const float*, Index, float, float*, Index);
template void gemm<double>(Transpose, Transpose, Index, Index, Index, double, const double*, Index,
                           const double*, Index, double, double*, Index);
template void parallel_gemm<float>(Transpose, Transpose, Index, Index, Index, float, const float*,
                                   Index, const float*, Index, float, float*, Index);
template void parallel_gemm<double>(Transpose, Transpose, Index, Index, Index, double,
                                    const double*, Index, const double*, Index, double, double*,
                                    Index);

}  // namespace vla
