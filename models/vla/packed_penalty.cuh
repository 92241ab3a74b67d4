// How a block of threads holds a matrix of a head in its registers.
#pragma once

#include "models/vla/packed_penalty_cuda.hpp"
#include "models/vla/penalty.cuh"

namespace vla::cuda {

/// A thread's part of a matrix of at most (width, width): four neighbouring columns of every
/// kRows-th row, so that the threads of a row read and write it in whole lines.
template <int width>
struct Share {
  static constexpr int kColumns = 4;
  static constexpr int kLanes = width / kColumns;  // threads of a row
  static constexpr int kRows = kThreads / kLanes;  // rows of a pass
  static constexpr int kPasses = width / kRows;    // over all rows
  static constexpr int kWarps = kThreads / kWarp;
  int lane = static_cast<int>(threadIdx.x) % kLanes;
  int first_row = static_cast<int>(threadIdx.x) / kLanes;
  int first_column = lane * kColumns;

  __device__ int row(int pass) const { return first_row + pass * kRows; }

  /// `value` of the threads of a row added up, in all of them.
  __device__ float sum_of_row(float value) const {
#pragma unroll
    for (int distance = kLanes / 2; distance > 0; distance /= 2)
      value += __shfl_xor_sync(0xFFFFFFFF, value, distance);
    return value;
  }
};

/// Neighbouring elements of a row.
struct Four {
  float x[4] = {};
};
__device__ inline float dot(const Four& a, const Four& b) {
  return a.x[0] * b.x[0] + a.x[1] * b.x[1] + a.x[2] * b.x[2] + a.x[3] * b.x[3];
}

/// From and to a multiple of 16 bytes.
__device__ inline Four read_four(const float* place) {
  const float4 all = *reinterpret_cast<const float4*>(place);
  return {{all.x, all.y, all.z, all.w}};
}
__device__ inline void write_four(const Four& four, float* place) {
  *reinterpret_cast<float4*>(place) = make_float4(four.x[0], four.x[1], four.x[2], four.x[3]);
}

/// The thread's elements of rows first + row(pass) of a matrix (rows, columns) in global memory;
/// zeros beyond its end. What is read is not read again: the cache is left to what is written, the
/// next token's state (on an H100, B 64, H 16, d 64: 19 us a token so, 25 us otherwise).
template <int width, int passes>
__device__ void read_rows(Four (&into)[passes], const Share<width>& share, const float* matrix,
                          int first, int rows, int columns) {
  const auto own = [&](int pass) {
    return matrix + (first + share.row(pass)) * columns + share.first_column;
  };
  if (columns % 4 == 0) {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      float4 all = make_float4(0, 0, 0, 0);
      if (first + share.row(pass) < rows && share.first_column < columns)
        all = __ldcs(reinterpret_cast<const float4*>(own(pass)));
      into[pass] = {{all.x, all.y, all.z, all.w}};
    }
    return;
  }
#pragma unroll
  for (int pass = 0; pass < passes; ++pass)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const bool inside = first + share.row(pass) < rows && share.first_column + e < columns;
      into[pass].x[e] = inside ? own(pass)[e] : 0;
    }
}
template <int width, int passes>
__device__ void write_rows(const Four (&from)[passes], const Share<width>& share, float* matrix,
                           int first, int rows, int columns) {
#pragma unroll
  for (int pass = 0; pass < passes; ++pass) {
    if (first + share.row(pass) >= rows || share.first_column >= columns) continue;
    float* own = matrix + (first + share.row(pass)) * columns + share.first_column;
    if (columns % 4 == 0) {
      write_four(from[pass], own);
      continue;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (share.first_column + e < columns) own[e] = from[pass].x[e];
  }
}

/// Calls function(std::integral_constant<int, width>()) with the width that heads are padded to.
template <class Function>
void dispatch_share(int width, Function&& function) {
  if (width <= 32) return function(std::integral_constant<int, 32>());
  if (width <= 64) return function(std::integral_constant<int, 64>());
  function(std::integral_constant<int, 128>());
}

}  // namespace vla::cuda
