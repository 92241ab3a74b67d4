// Linear algebra of matrices that fit in a cache, as the chunked operators need it. A call of BLAS
// on 64 x 64 numbers reaches half of the rate of a large product; these kernels keep the sums in
// registers, leave out the half of a triangle that is not used, and need no packing, because every
// width is padded to a multiple of kBlock.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// Columns, and the rows of triangular blocks, come in multiples of this.
inline constexpr Index kBlock = 16;
inline Index padded(Index size) { return (size + kBlock - 1) / kBlock * kBlock; }

/// A row-major matrix in somebody else's memory; `stride` elements lie between two rows.
template <class T>
struct Matrix {
  T* data;
  Index stride;
  T* row(Index i) const { return data + i * stride; }
  Matrix from(Index row, Index column) const { return {data + row * stride + column, stride}; }
};

/// x . y in the elements' own type.
template <class T>
T dot(const T* x, const T* y, Index n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

/// The same summed in float64, whatever the elements are.
template <class A, class B>
double dot_in_float64(const A* x, const B* y, Index n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

/// `count` zeros.
template <class T>
std::vector<T> numbers(Index count) {
  return std::vector<T>(static_cast<std::size_t>(count));
}

/// What a product does to its target.
enum class Into { set, add, subtract };

namespace detail {

#ifdef __AVX512F__
inline constexpr int kLaneBytes = 64;
#else
inline constexpr int kLaneBytes = 32;
#endif
template <class T>
struct LanesOf {
  typedef T Type __attribute__((vector_size(kLaneBytes)));
};
template <class T>
using Lanes = typename LanesOf<T>::Type;

template <class T>
Lanes<T> load(const T* from) {
  Lanes<T> x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

// Rows x (vectors of lanes) of C, kept in registers while k runs. A is (m, k), or (k, m) where it
// is to be transposed.
template <class T, int rows, int vectors, bool transposed>
void tile(Into into, Index k, const T* a, Index lda, const T* b, Index ldb, T* c, Index ldc) {
  constexpr int lanes = kLaneBytes / sizeof(T);
  Lanes<T> sum[rows][vectors] = {};
  for (Index p = 0; p < k; ++p) {
    Lanes<T> from_b[vectors];
    for (int v = 0; v < vectors; ++v) from_b[v] = load(b + p * ldb + v * lanes);
    for (int i = 0; i < rows; ++i) {
      const T factor = transposed ? a[p * lda + i] : a[i * lda + p];
      for (int v = 0; v < vectors; ++v) sum[i][v] += factor * from_b[v];
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int v = 0; v < vectors; ++v) {
      T* target = c + i * ldc + v * lanes;
      if (into == Into::add) sum[i][v] = load(target) + sum[i][v];
      if (into == Into::subtract) sum[i][v] = load(target) - sum[i][v];
      std::memcpy(target, &sum[i][v], sizeof sum[i][v]);
    }
}

template <class T, int vectors, bool transposed>
void column_of_tiles(Into into, Index m, Index k, Matrix<const T> a, Matrix<const T> b,
                     Matrix<T> c) {
  const auto run = [&]<int rows>(Index i) {
    tile<T, rows, vectors, transposed>(into, k, transposed ? a.data + i : a.row(i), a.stride,
                                       b.data, b.stride, c.row(i), c.stride);
  };
  Index i = 0;
  for (; i + 6 <= m; i += 6) run.template operator()<6>(i);
  if (m - i >= 4) run.template operator()<4>(i), i += 4;
  if (m - i >= 2) run.template operator()<2>(i), i += 2;
  if (m - i >= 1) run.template operator()<1>(i);
}

template <class T, bool transposed>
void multiply(Into into, Index m, Index n, Index k, Matrix<const T> a, Matrix<const T> b,
              Matrix<T> c) {
  constexpr Index lanes = kLaneBytes / sizeof(T);
  Index j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes)
    column_of_tiles<T, 2, transposed>(into, m, k, a, b.from(0, j), c.from(0, j));
  if (j < n) column_of_tiles<T, 1, transposed>(into, m, k, a, b.from(0, j), c.from(0, j));
}

}  // namespace detail

/// C (m, n) (+)= A (m, k) B (k, n); n a multiple of kBlock.
template <class T>
void multiply(Into into, Index m, Index n, Index k, Matrix<const T> a, Matrix<const T> b,
              Matrix<T> c) {
  detail::multiply<T, false>(into, m, n, k, a, b, c);
}

/// C (m, n) (+)= A^T B with A (k, m), B (k, n); n a multiple of kBlock.
template <class T>
void multiply_transposed(Into into, Index m, Index n, Index k, Matrix<const T> a, Matrix<const T> b,
                         Matrix<T> c) {
  detail::multiply<T, true>(into, m, n, k, a, b, c);
}

/// The lower triangle of the symmetric C (n, n) (+)= A^T B, A and B (k, n), and whatever else of
/// the blocks on the diagonal; n a multiple of kBlock.
template <class T>
void multiply_symmetric(Into into, Index n, Index k, Matrix<const T> a, Matrix<const T> b,
                        Matrix<T> c) {
  for (Index i = 0; i < n; i += kBlock)
    multiply_transposed<T>(into, kBlock, i + kBlock, k, a.from(0, i), b, c.from(i, 0));
}

/// Copies the lower triangle of C (n, n) to the upper.
template <class T>
void mirror_lower(Index n, Matrix<T> c) {
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < i; ++j) c.row(j)[i] = c.row(i)[j];
}

/// B (n, m) <- A^T, A (m, n).
template <class T>
void transpose(Index m, Index n, Matrix<const T> a, Matrix<T> b) {
  for (Index from = 0; from < m; from += kBlock)
    for (Index j = 0; j < n; ++j)
      for (Index i = from; i < std::min(m, from + kBlock); ++i) b.row(j)[i] = a.row(i)[j];
}

/// X (kBlock, kBlock) <- (I + tril(L, -1))^-1; L and X must not overlap.
template <class T>
void invert_unit_lower(Matrix<const T> l, Matrix<T> x) {
  for (Index i = 0; i < kBlock; ++i) {
    T* row = x.row(i);
    for (Index j = 0; j < kBlock; ++j) row[j] = i == j;
    for (Index s = 0; s < i; ++s) {
      const T factor = l.row(i)[s];
      for (Index j = 0; j < kBlock; ++j) row[j] -= factor * x.row(s)[j];
    }
  }
}

}  // namespace vla
