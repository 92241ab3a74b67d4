// What the kernels of the inverse penalty share.
#pragma once

#include "models/block.cuh"
#include "models/vla/penalty_arrays.hpp"

namespace vla::cuda {

/// Where a value is, for reports.
struct PenaltyPlace {
  ProblemNote* note;
  Index b, h;

  __device__ void found(Problem problem, Index token, double number = 0) const {
    ProblemNote what;
    what.problem = problem;
    what.number = number;
    what.sequence = b;
    what.head = h;
    what.time = token;
    report(note, what);
  }
  __device__ void check_lambda0(double lambda0) const {
    if (!(lambda0 > 0) || !isfinite(lambda0)) found(Problem::lambda0, 0, lambda0);
  }
};

/// a <- a^-1 in place, for a symmetric positive definite matrix (n, n), by Gauss-Jordan elimination
/// without pivoting. `row` and `column` have room for n numbers. Whether all pivots were positive,
/// in every thread; all threads see the result.
__device__ inline bool invert_in_place(Index n, double* a, Index stride, double* row,
                                       double* column) {
  bool positive = true;
  for (Index p = 0; p < n; ++p) {
    __syncthreads();
    for_each(n, [&](Index i) {
      row[i] = a[p * stride + i];
      column[i] = a[i * stride + p];
    });
    __syncthreads();
    const double pivot = row[p];
    positive = positive && pivot > 0 && isfinite(pivot);
    const double shrink = 1 / pivot;
    for_rows(n, n, [&](const RowPart& part) {
      if (part.begin == part.end) return;
      double* own = a + part.row * stride;
      const bool on_pivot = part.row == p;
      const double factor = column[part.row] * shrink;
      for (Index j = part.begin; j < part.end; ++j) {
        if (on_pivot)
          own[j] = j == p ? shrink : row[j] * shrink;
        else
          own[j] = j == p ? -factor : own[j] - factor * row[j];
      }
    });
  }
  __syncthreads();
  for_rows(n, n, [&](const RowPart& part) {  // symmetric but for rounding
    for (Index j = part.begin; j < part.end && j < part.row; ++j) {
      const double mean = (a[part.row * stride + j] + a[j * stride + part.row]) / 2;
      a[part.row * stride + j] = a[j * stride + part.row] = mean;
    }
  });
  __syncthreads();
  return positive;
}

}  // namespace vla::cuda
