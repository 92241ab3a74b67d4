// How sequences are cut into segments that are computed at the same time.
#pragma once

#include "models/vla/least_squares.cuh"

namespace vla::cuda {

/// Runs of `length` chunks, counted along sequences, heads and time.
struct Segments {
  Index sequences, heads;
  Index chunks;  // of a sequence
  Index length;  // chunks of a segment, but the last
  Index count;   // segments of a sequence

  Index all_heads() const { return sequences * heads; }
  Index total() const { return all_heads() * count; }
  __device__ SegmentPlace place(Index segment) const {
    const Index head = segment / count, first = segment % count * length;
    return {head / heads, head % heads, first, min(first + length, chunks)};
  }
  /// Where the stacked matrix of a segment begins: (2 width, width), or (width, width).
  __device__ Index offset(Index segment, int width, bool has_values = true) const {
    return segment * (has_values ? 2 : 1) * width * width;
  }
};

/// Segments for blocks of which `at_once` run on a multiprocessor at the same time.
Segments segments_for(const LeastSquaresSizes& n, int at_once, Device device);

/// sums (segments, elements) <- what the segments of the same head before each of them sum to, or
/// with `reversed` those after it; totals (heads, elements) <- all of them. Number is float or
/// double.
template <class Number>
void add_up_segments(const Segments& segments, Index elements, Number* sums, Number* totals,
                     bool reversed, Device device);

/// starts (segments, rows, width) <- A = M^-1 and, with values, S = N A, stacked, from M - lambda0
/// I and N before each segment. In float64: where few different keys repeat, an error of M is
/// amplified by sum of beta / lambda0.
void start_segments(const LeastSquaresSizes& n, const Segments& segments, int width,
                    bool has_values, const double* sums, const float* lambda0, float* starts,
                    Device device);
/// The shared memory that it needs.
std::size_t start_bytes(int width);

/// What all tokens of a head add up to: (heads, rows, width), the upper rows those of keys.
template <class Number>
struct Totals {
  const Number* data;
  int rows, width;
  __device__ Number operator()(Index head, int row, int column) const {
    return data[(head * rows + row) * width + column];
  }
};

/// M (B, H, d, d) <- lambda0 I and what was added to it.
void write_penalty(const LeastSquaresSizes& n, const Totals<double>& added, const float* lambda0,
                   double* penalty, Device device);

/// dlambda0 (H) from all of sum of h y^T.
void sum_lambda0(const LeastSquaresSizes& n, const Totals<float>& products, float* gradient,
                 Device device);

}  // namespace vla::cuda
