// Rows of a tensor on CUDA: which threads work on a row, in which pieces they read it, and whether
// they keep it in registers so that it is read once.
#pragma once

#include "framework/cuda/piece.cuh"
#include "framework/ops/rows.hpp"

namespace vla::cuda {

/// A row is worked on by a team of threads in pieces of `size` elements, of which each thread holds
/// up to `held` in registers; 0: any number, read again each time. All functions for the device
/// count in threads of one block of kThreads.
template <int team, int size, int held>
struct RowPlan {
  static constexpr int kTeam = team, kSize = size, kHeld = held;

  /// Grid for `rows` rows. The last block may have threads without a row: row() is past the end.
  static Grid grid(Index rows) { return grid_for(rows * team); }
  static __device__ Index row() { return thread_index() / team; }
  static __device__ int lane() { return threadIdx.x % team; }

  /// Calls work(number, place) for this thread's pieces: `place` among those of the row, `number`
  /// among those that the thread holds (0 if it holds none).
  template <class Work>
  static __device__ void each_piece(Index width, const Work& work) {
    const Index pieces = width / size;
    if constexpr (held > 0) {
#pragma unroll
      for (int number = 0; number < held; ++number) {
        const Index place = number * team + lane();
        if (place < pieces) work(number, place);
      }
    } else {
      for (Index place = lane(); place < pieces; place += team) work(0, place);
    }
  }
};

/// The pieces of one row of one tensor that this thread works on.
template <class Plan, class T>
class RowPieces {
 public:
  using Elements = Piece<T, Plan::kSize>;

  __device__ RowPieces(const T* row, Index width) : row_(row) {
    if constexpr (Plan::kHeld > 0)
      Plan::each_piece(width, [&](int number, Index place) { held_[number] = read(place); });
  }
  __device__ Elements piece(int number, Index place) const {
    if constexpr (Plan::kHeld > 0)
      return held_[number];
    else
      return read(place);
  }

 private:
  __device__ Elements read(Index place) const {
    return read_piece<Plan::kSize>(row_ + place * Plan::kSize);
  }

  const T* row_;
  Elements held_[Plan::kHeld > 0 ? Plan::kHeld : 1];
};

/// The same of a row that all rows share, such as a weight, which is read again each time.
template <class Plan, class T>
class SharedRow {
 public:
  explicit __device__ SharedRow(const T* row) : row_(row) {}
  __device__ Piece<T, Plan::kSize> piece(int, Index place) const {
    return read_piece<Plan::kSize>(row_ + place * Plan::kSize);
  }

 private:
  const T* row_;
};

/// Calls function(i, values...) with the elements i of this thread's part of some rows, each a
/// RowPieces or a SharedRow.
template <class Plan, class Function, class... Parts>
__device__ void each_value(Index width, const Function& function, const Parts&... parts) {
  constexpr int size = Plan::kSize;
  Plan::each_piece(width, [&](int number, Index place) {
    const auto each = [&](const auto&... pieces) {
#pragma unroll
      for (int j = 0; j < size; ++j) function(place * size + j, widened(pieces.elements[j])...);
    };
    each(parts.piece(number, place)...);
  });
}

/// Writes function(i, values...) as element i of the row at `into`.
template <class Plan, class Into, class Function, class... Parts>
__device__ void write_values(Into* into, Index width, const Function& function,
                             const Parts&... parts) {
  constexpr int size = Plan::kSize;
  Plan::each_piece(width, [&](int number, Index place) {
    const auto each = [&](const auto&... pieces) {
      Piece<Into, size> out;
#pragma unroll
      for (int j = 0; j < size; ++j)
        out.elements[j] = Into(function(place * size + j, widened(pieces.elements[j])...));
      write_piece(into + place * size, out);
    };
    each(parts.piece(number, place)...);
  });
}

/// Calls function(plan) with the RowPlan for rows of `width` elements of type T: a warp for each up
/// to 1024 elements, a block from there on, and packs where the rows are whole packs. Threads that
/// hold less than they could need fewer registers, so that more of them run at once.
template <class T, class Function>
void with_row_plan(Index width, Function&& function) {
  constexpr int size = Pack<T>::kSize, most = std::min(8, 1024 / (kWarp * size));
  const bool packs = width % size == 0;
  const Index pieces = width / size;
  if (packs && pieces <= 2 * kWarp)
    function(RowPlan<kWarp, size, 2>());
  else if (packs && pieces <= most * kWarp)
    function(RowPlan<kWarp, size, most>());
  else if (packs && pieces <= 2 * kThreads)
    function(RowPlan<kThreads, size, 2>());
  else if (packs && pieces <= 8 * kThreads)
    function(RowPlan<kThreads, size, 8>());
  else if (packs)
    function(RowPlan<kThreads, size, 0>());
  else if (width <= 1024)
    function(RowPlan<kWarp, 1, 0>());
  else
    function(RowPlan<kThreads, 1, 0>());
}

/// Calls function(T{}, plan) with the element type of a floating `dtype` and the plan for its rows.
template <class Function>
void dispatch_rows(DType dtype, const char* op, Index width, Function&& function) {
  dispatch_kernel(dtype, op, [&](auto zero) {
    with_row_plan<decltype(zero)>(width, [&](auto plan) { function(zero, plan); });
  });
}

}  // namespace vla::cuda
