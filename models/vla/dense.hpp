// Small dense linear algebra for matrices that fit in a cache, on row-major arrays: loops over
// rows, which vectorise, where a LAPACK call costs more than the work.
#pragma once

#include <cmath>

#include "framework/ops/blas.hpp"

namespace vla {

/// The upper triangle of the symmetric positive definite `a` (n, n) becomes R with R^T R = a; the
/// lower one is left as it was. Returns false, with `a` spoilt, if a is not positive definite.
template <class T>
bool cholesky(T* a, Index n) {
  for (Index k = 0; k < n; ++k) {
    T* pivot_row = a + k * n;
    if (!(pivot_row[k] > 0) || !std::isfinite(pivot_row[k])) return false;
    const T inverse_root = 1 / std::sqrt(pivot_row[k]);
    for (Index j = k; j < n; ++j) pivot_row[j] *= inverse_root;
    for (Index i = k + 1; i < n; ++i) {
      T* row = a + i * n;
      const T factor = pivot_row[i];
#pragma omp simd
      for (Index j = i; j < n; ++j) row[j] -= factor * pivot_row[j];
    }
  }
  return true;
}

/// b (n, columns) <- R^-T b for the R of `cholesky`.
template <class T>
void solve_transposed(const T* r, Index n, T* b, Index columns) {
  for (Index k = 0; k < n; ++k) {
    T* solved = b + k * columns;
    const T inverse_pivot = 1 / r[k * n + k];
    for (Index j = 0; j < columns; ++j) solved[j] *= inverse_pivot;
    for (Index i = k + 1; i < n; ++i) {
      T* row = b + i * columns;
      const T factor = r[k * n + i];
#pragma omp simd
      for (Index j = 0; j < columns; ++j) row[j] -= factor * solved[j];
    }
  }
}

/// inverse <- a^-1 for symmetric positive definite a (n, n), which is spoilt; `scratch` holds n *
/// n. Returns false if a is not positive definite.
template <class T>
bool invert(T* a, Index n, T* inverse, T* scratch) {
  if (!cholesky(a, n)) return false;
  for (Index i = 0; i < n * n; ++i) scratch[i] = i % (n + 1) == 0 ? T(1) : T(0);
  solve_transposed(a, n, scratch, n);
  gemm<T>(Transpose::yes, Transpose::no, n, n, n, 1, scratch, n, scratch, n, 0, inverse, n);
  return true;
}

}  // namespace vla
