// What the kernels of the recurrent operators share. A block of kThreads threads takes one sequence
// and head at a time. Its arrays lie in shared memory while there is room, in global memory where a
// head is too wide for that, so that every width works; the same code reads both.
//
// Work comes in passes over the rows of a matrix, a few neighbouring threads to a row, each with a
// run of its columns. A thread has the same elements in every pass over matrices of that size:
// what it alone reads and writes needs no __syncthreads(), what others read does.
#pragma once

#include "framework/cuda/kernel.cuh"

namespace vla::cuda {

/// Where a block's array begins: in its shared memory, or in its part of a scratch tensor.
struct Place {
  Index offset = 0;
  bool shared = false;
};

/// A block's memory, for kernels.
struct BlockMemory {
  std::uint8_t* scratch = nullptr;
  Index scratch_bytes = 0;  // of one block

  template <class T>
  __device__ T* at(Place place) const {
    extern __shared__ __align__(16) unsigned char shared_bytes[];
    std::uint8_t* base = place.shared ? shared_bytes : scratch + blockIdx.x * scratch_bytes;
    return reinterpret_cast<T*>(base + place.offset);
  }
};

/// A grid of blocks and their memory, as a kernel is launched with them.
struct Blocks {
  Grid grid;
  BlockMemory memory = {};
  Tensor scratch = {};  // keeps the memory alive
};

/// Deals out a block's arrays: those that are asked for first get the shared memory.
class Room {
 public:
  explicit Room(Device device) : device_(device) {
    constexpr std::size_t kStatic = 2048;  // what kernels declare as __shared__, and reserves
    const std::size_t all = properties(device).shared_bytes;
    shared_left_ = all > kStatic ? static_cast<Index>(all - kStatic) : 0;
  }

  /// Room for `count` elements.
  template <class T>
  Place take(Index count) {
    const Place place = take_if_shared<T>(count);
    if (place.shared) return place;
    scratch_ += rounded<T>(count);
    return {scratch_ - rounded<T>(count), false};
  }
  /// The same in shared memory or not at all.
  template <class T>
  Place take_if_shared(Index count) {
    const Index bytes = rounded<T>(count);
    if (bytes > shared_left_) return {};
    shared_left_ -= bytes;
    shared_ += bytes;
    return {shared_ - bytes, true};
  }

  /// Blocks for `heads` sequences and heads, over which they stride. Those with scratch are no more
  /// than can run at once, so that its size has a bound.
  Blocks blocks(Index heads) const {
    const Index most = scratch_ > 0 ? 2 * properties(device_).multiprocessors : 1 << 20;
    Blocks result{{dim3(static_cast<unsigned>(std::min(heads, most))), kThreads,
                   static_cast<std::size_t>(shared_)}};
    if (scratch_ == 0) return result;
    result.scratch =
        Tensor({static_cast<Index>(result.grid.blocks.x), scratch_}, DType::uint8, device_);
    result.memory = {result.scratch.mutable_data<std::uint8_t>(), scratch_};
    return result;
  }

 private:
  template <class T>
  static Index rounded(Index count) {
    return (count * static_cast<Index>(sizeof(T)) + 15) / 16 * 16;
  }

  Device device_;
  Index shared_left_ = 0, shared_ = 0, scratch_ = 0;
};

/// Elements between two rows of a matrix that passes read along rows and along columns: odd, so
/// that neighbouring rows lie in different banks.
VLA_HOST_DEVICE inline Index stride_for(Index columns) { return columns | 1; }

/// A row-major matrix in a block's memory.
template <class T>
struct Block {
  T* data;
  int stride;
  __device__ T& operator()(int i, int j) const { return data[i * stride + j]; }
};

/// A thread's part of one row: columns begin .. end - 1, none where it has no row. Counted in 32
/// bits, because the passes are short and 64 bits take several instructions each.
struct RowPart {
  int row, begin, end;
  int lanes;   // threads that share the row
  bool leads;  // the one of them that writes what there is once per row

  /// `value` of all threads of the row, added up. To be called by all threads of a pass.
  template <class T>
  __device__ T sum(T value) const {
    for (int lane = lanes / 2; lane > 0; lane /= 2)
      value += __shfl_xor_sync(0xFFFFFFFF, value, lane);
    return value;
  }
  __device__ bool has(int column) const { return begin <= column && column < end; }
};

/// Calls work(part) for this thread's part of the rows; all threads of the block make the same
/// number of calls.
template <class Work>
__device__ void for_rows(int rows, int columns, Work work) {
  int lanes = kWarp;
  while (lanes > 1 && rows * lanes > kThreads) lanes /= 2;
  const int groups = kThreads / lanes, group = static_cast<int>(threadIdx.x) / lanes;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int share = (columns + lanes - 1) / lanes;
  const int begin = min(lane * share, columns), end = min(begin + share, columns);
  for (int base = 0; base < rows; base += groups) {
    const int row = base + group;
    const bool has_row = row < rows;
    work(RowPart{row, has_row ? begin : 0, has_row ? end : 0, lanes, has_row && lane == 0});
  }
}

/// Calls work(i) for this thread's share of 0 .. n - 1.
template <class Work>
__device__ void for_each(Index n, Work work) {
  for (Index i = threadIdx.x; i < n; i += blockDim.x) work(i);
}

/// Calls work(i, j) for this thread's share of the elements of a (rows, columns) matrix, neighbours
/// in a row by neighbouring threads. Counted in 32 bits: a division of 64 takes some hundred
/// instructions.
template <class Work>
__device__ void for_elements(int rows, int columns, Work work) {
  for (int element = static_cast<int>(threadIdx.x); element < rows * columns;
       element += static_cast<int>(blockDim.x)) {
    const int i = element / columns;
    work(i, element - i * columns);
  }
}

/// The sum of value(i) over 0 .. n - 1, in every thread of the warp, and the same in every warp.
template <class T, class Value>
__device__ T warp_sum(int n, Value value) {
  T sum = 0;
  for (int i = threadIdx.x % kWarp; i < n; i += kWarp) sum += value(i);
  return sum_of_team<kWarp>(sum);
}
template <class T>
__device__ T warp_dot(const T* x, const T* y, int n) {
  return warp_sum<T>(n, [&](int i) { return x[i] * y[i]; });
}

/// This thread's part of x . y, for the columns of a row.
template <class A, class B>
__device__ auto part_dot(const RowPart& part, const A* x, const B* y) {
  decltype(A() * B()) sum = 0;
#pragma unroll 4
  for (int j = part.begin; j < part.end; ++j) sum += x[j] * y[j];
  return sum;
}

/// Vectors of a run of tokens: in shared memory, or where they were.
template <class T>
struct Staged {
  const T* data;
  Index stride;  // between tokens
  __device__ const T* at(Index token) const { return data ? data + token * stride : nullptr; }
};

/// Brings `count` vectors of `width` elements, `stride` apart, to `place` if that is in shared
/// memory. Others may read them after the next __syncthreads().
template <class T>
__device__ Staged<T> stage(const BlockMemory& memory, Place place, const T* from, Index stride,
                           Index count, Index width) {
  if (!place.shared || !from) return {from, stride};
  T* into = memory.at<T>(place);
  for_each(count * width, [&](Index i) { into[i] = from[i / width * stride + i % width]; });
  return {into, width};
}

/// A matrix with rows `stride` apart from and to one without gaps; each thread the elements that
/// are its own in passes over rows.
template <class From, class Into>
__device__ void copy_rows(Index rows, Index columns, const From* from, Index from_stride,
                          Into* into, Index into_stride) {
  for_rows(rows, columns, [&](const RowPart& part) {
    for (Index j = part.begin; j < part.end; ++j)
      into[part.row * into_stride + j] = static_cast<Into>(from[part.row * from_stride + j]);
  });
}
template <class T>
__device__ void fill_rows(Index rows, Index columns, T* into, Index stride, T value, T diagonal) {
  for_rows(rows, columns, [&](const RowPart& part) {
    for (Index j = part.begin; j < part.end; ++j)
      into[part.row * stride + j] = j == part.row ? diagonal : value;
  });
}
/// Adds to the diagonal of a square matrix, likewise.
template <class T>
__device__ void add_to_diagonal(Index n, T* matrix, Index stride, T amount) {
  for_rows(n, n, [&](const RowPart& part) {
    if (part.has(part.row)) matrix[part.row * stride + part.row] += amount;
  });
}

/// Calls store(i, j, sum) with the element of a product of matrices, (m, k) by (k, n), for all of
/// its elements, each always in the same thread: sum over p of a(i, p) b(p, j). Neither waits for
/// what other threads write before it nor makes them wait for its results.
template <class T, class A, class B, class Store>
__device__ void block_multiply(int m, int n, int k, A a, B b, Store store) {
  constexpr int kSide = 16, kTile = 4;  // threads along a side, and elements of a thread
  static_assert(kSide * kSide == kThreads);
  const int row = static_cast<int>(threadIdx.x) / kSide,
            column = static_cast<int>(threadIdx.x) % kSide;
  for (int first_row = row; first_row - row < m; first_row += kSide * kTile)
    for (int first = column; first - column < n; first += kSide * kTile) {
      int rows[kTile], columns[kTile];  // beyond the end: the last, for nothing
      T sum[kTile][kTile] = {};
#pragma unroll
      for (int i = 0; i < kTile; ++i) {
        rows[i] = min(first_row + i * kSide, m - 1);
        columns[i] = min(first + i * kSide, n - 1);
      }
#pragma unroll 4
      for (int p = 0; p < k; ++p) {
        T from_a[kTile], from_b[kTile];
#pragma unroll
        for (int i = 0; i < kTile; ++i) {
          from_a[i] = a(rows[i], p);
          from_b[i] = b(p, columns[i]);
        }
#pragma unroll
        for (int i = 0; i < kTile; ++i)
#pragma unroll
          for (int j = 0; j < kTile; ++j) sum[i][j] += from_a[i] * from_b[j];
      }
#pragma unroll
      for (int i = 0; i < kTile; ++i)
#pragma unroll
        for (int j = 0; j < kTile; ++j)
          if (first_row + i * kSide < m && first + j * kSide < n)
            store(rows[i], columns[j], sum[i][j]);
    }
}

/// x (n, width) <- (I + tril(L, -1))^-1 x, or with its transpose; all threads see the result.
template <bool transposed, class T>
__device__ void solve_unit_lower(int n, int width, const T* l, int l_stride, T* x, int x_stride) {
  constexpr int kRows = 16;  // a thread solves these for a column in its registers
  const auto factor = [&](int row, int of) {
    return transposed ? l[of * l_stride + row] : l[row * l_stride + of];
  };
  const int blocks = (n + kRows - 1) / kRows;
  for (int block = 0; block < blocks; ++block) {
    const int begin = (transposed ? blocks - 1 - block : block) * kRows;
    const int end = min(begin + kRows, n), rows = end - begin;
    // The rows in the order in which they are solved.
    const auto place = [&](int i) { return transposed ? end - 1 - i : begin + i; };
    for_each(width, [&](int j) {
      T column[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) column[i] = i < rows ? x[place(i) * x_stride + j] : T(0);
#pragma unroll
      for (int i = 1; i < kRows; ++i)
#pragma unroll
        for (int s = 0; s < i; ++s)
          if (i < rows) column[i] -= factor(place(i), place(s)) * column[s];
#pragma unroll
      for (int i = 1; i < kRows; ++i)
        if (i < rows) x[place(i) * x_stride + j] = column[i];
    });
    __syncthreads();
    const int from = transposed ? 0 : end, left = transposed ? begin : n - end;
    block_multiply<T>(
        left, width, rows, [&](int i, int p) { return factor(from + i, begin + p); },
        [&](int p, int j) { return x[(begin + p) * x_stride + j]; },
        [&](int i, int j, T sum) { x[(from + i) * x_stride + j] -= sum; });
    __syncthreads();
  }
}

}  // namespace vla::cuda
