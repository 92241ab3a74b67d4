// Sums and maxima along the middle axis of a (outer, length, inner) array, on the CPU.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "framework/ops/folds.hpp"
#include "framework/parallel.hpp"
#include "framework/tensor.hpp"

namespace vla {

// Work is cut into segments of this many elements or rows, whatever the number of threads: the
// result does not depend on it. A segment is folded in the element type, segments in double, so
// that a long float32 sum is as good as a short one.
inline constexpr Index kFoldElements = 1024;
inline constexpr Index kFoldRows = 64;
inline constexpr Index kFoldColumns = 512;
inline constexpr Index kFoldLanes = 32;

template <class Fold, class T>
double fold_elements(const T* x, Index count) {
  std::array<T, kFoldLanes> lanes;
  lanes.fill(T(Fold::start));
  Index i = 0;
  for (; i + kFoldLanes <= count; i += kFoldLanes) {
#pragma omp simd
    for (Index lane = 0; lane < kFoldLanes; ++lane)
      lanes[lane] = Fold::fold(lanes[lane], x[i + lane]);
  }
#pragma omp simd
  for (Index lane = 0; lane < count - i; ++lane) lanes[lane] = Fold::fold(lanes[lane], x[i + lane]);
  for (Index width = kFoldLanes / 2; width > 0; width /= 2)
    for (Index lane = 0; lane < width; ++lane)
      lanes[lane] = Fold::fold(lanes[lane], lanes[lane + width]);
  return lanes[0];
}

// Folds `rows` rows of which `columns` elements are wanted into result[0 .. columns).
template <class Fold, class T, class Result>
void fold_rows(const T* x, Index rows, Index row_stride, Index columns, Result* result) {
  std::array<T, kFoldColumns> tile;
  std::fill_n(tile.begin(), columns, T(Fold::start));
  for (Index row = 0; row < rows; ++row) {
    const T* in = x + row * row_stride;
#pragma omp simd
    for (Index i = 0; i < columns; ++i) tile[i] = Fold::fold(tile[i], in[i]);
  }
  for (Index i = 0; i < columns; ++i) result[i] = Result(tile[i]);
}

// One segment of one outer part, for the columns from `inner_begin` on; `Result` is T where the
// segment is all there is, double otherwise.
template <class Fold, class T, class Result>
void fold_segment(const T* x, const FoldRun& run, Index begin, Index end, Index inner_begin,
                  Result* result) {
  if (run.inner == 1) {
    *result = Result(fold_elements<Fold>(x + begin, end - begin));
  } else {
    const Index columns = std::min(kFoldColumns, run.inner - inner_begin);
    fold_rows<Fold>(x + begin * run.inner + inner_begin, end - begin, run.inner, columns,
                    result + inner_begin);
  }
}

/// y (outer, inner) = the fold of x (outer, length, inner) along `length`; Fold::start where that
/// is 0.
template <class Fold, class T>
void reduce_run(const T* x, const FoldRun& run, T* y) {
  const Index segment_length = run.inner == 1 ? kFoldElements : kFoldRows;
  const Index segments = std::max<Index>(1, (run.length + segment_length - 1) / segment_length);
  const Index tiles = (run.inner + kFoldColumns - 1) / kFoldColumns;
  const Index block = run.length * run.inner;
  const Index work = std::max<Index>(1, block / (segments * std::max<Index>(tiles, 1)));
  std::vector<double> partial(
      segments > 1 ? static_cast<std::size_t>(run.outer * segments * run.inner) : 0);

  parallel_for(run.outer * segments * tiles, std::max<Index>(1, (1 << 14) / work),
               [&](Index begin, Index end) {
                 for (Index item = begin; item < end; ++item) {
                   const Index tile = item % tiles, segment = item / tiles % segments;
                   const Index outer = item / (tiles * segments);
                   const Index first = segment * segment_length;
                   const Index last = std::min(run.length, first + segment_length);
                   if (segments == 1)
                     fold_segment<Fold>(x + outer * block, run, first, last, tile * kFoldColumns,
                                        y + outer * run.inner);
                   else
                     fold_segment<Fold>(x + outer * block, run, first, last, tile * kFoldColumns,
                                        partial.data() + (outer * segments + segment) * run.inner);
                 }
               });
  if (segments == 1) return;
  for (Index outer = 0; outer < run.outer; ++outer) {
    double* total = partial.data() + outer * segments * run.inner;
    for (Index segment = 1; segment < segments; ++segment)
      for (Index i = 0; i < run.inner; ++i)
        total[i] = Fold::fold(total[i], total[segment * run.inner + i]);
    for (Index i = 0; i < run.inner; ++i) y[outer * run.inner + i] = T(total[i]);
  }
}

}  // namespace vla
