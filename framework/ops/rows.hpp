// Loops over the rows of a tensor, for ops along the last axis.
#pragma once

#include <algorithm>

#include "framework/parallel.hpp"
#include "framework/tensor.hpp"

namespace vla {

/// A tensor as `count` rows along its last axis, each of `width` elements.
struct Rows {
  Index count = 0;
  Index width = 0;
};

/// Throws Error that names `op` for a scalar, which has no last axis.
inline Rows rows_of(const char* op, const Tensor& x) {
  check(x.rank() >= 1, op, ": a scalar has no last axis; rank 1 or more is needed");
  const Index width = x.size(-1);
  return {width == 0 ? 0 : x.elements() / width, width};
}

/// The element type of what is kept of each row of a tensor: bfloat16 is computed in float32.
inline DType accumulated_dtype(DType dtype) {
  return dtype == DType::bfloat16 ? DType::float32 : dtype;
}

/// Rows below which a second thread costs more than it saves.
inline Index row_grain(Index width) {
  return std::max<Index>(1, (1 << 13) / std::max<Index>(1, width));
}

/// Calls `work(row, first)`, `first` the place of the row's first element, for every row, on all
/// threads.
template <class Work>
void each_row(Rows rows, const Work& work) {
  parallel_for(rows.count, row_grain(rows.width), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) work(row, row * rows.width);
  });
}

/// Sums what `add_row(row, into)` adds to the `width` elements at `into`, over the rows
/// 0 .. count-1. The order of the sums does not depend on the number of threads.
template <class T, class AddRow>
Tensor sum_over_rows(Index count, Index width, const AddRow& add_row) {
  constexpr Index kBlock = 64;
  const Index blocks = std::max<Index>(1, (count + kBlock - 1) / kBlock);
  Tensor partial({blocks, width}, dtype_of<T>());
  T* sums = partial.mutable_data<T>();
  parallel_for(blocks, std::max<Index>(1, row_grain(width) / kBlock), [&](Index begin, Index end) {
    for (Index block = begin; block < end; ++block) {
      T* into = sums + block * width;
      std::fill_n(into, width, T(0));
      const Index last = std::min(count, (block + 1) * kBlock);
      for (Index row = block * kBlock; row < last; ++row) add_row(row, into);
    }
  });
  Tensor result({width}, dtype_of<T>());
  T* total = result.mutable_data<T>();
  std::copy_n(sums, width, total);
  for (Index block = 1; block < blocks; ++block)
#pragma omp simd
    for (Index i = 0; i < width; ++i) total[i] += sums[block * width + i];
  return result;
}

}  // namespace vla
