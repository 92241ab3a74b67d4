// How sequences are cut into segments that are computed at the same time.
#pragma once

#include "models/vla/least_squares.cuh"

namespace vla::cuda {

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
  /// Where the stacked matrix (2 width, width) of a segment begins.
  __device__ Index offset(Index segment, int width) const { return segment * 2 * width * width; }
};

/// Segments for blocks of which `at_once` run on a multiprocessor at the same time.
Segments segments_for(const LeastSquaresSizes& n, int at_once, Device device);

/// sums (segments, elements) <- what the segments of the same head before each of them sum to, or
/// with `reversed` those after it; totals (heads, elements) <- all of them.
void add_up_segments(const Segments& segments, Index elements, float* sums, float* totals,
                     bool reversed, Device device);

/// What all tokens of a head add up to: (heads, rows, width), the upper rows those of keys.
struct Totals {
  const float* data;
  int rows, width;
  __device__ float operator()(Index head, int row, int column) const {
    return data[(head * rows + row) * width + column];
  }
};

/// M (B, H, d, d) <- lambda0 I and what was added to it.
void write_penalty(const LeastSquaresSizes& n, const Totals& added, const float* lambda0,
                   double* penalty, Device device);

/// dlambda0 (H) from all of sum of h y^T.
void sum_lambda0(const LeastSquaresSizes& n, const Totals& products, float* gradient,
                 Device device);

}  // namespace vla::cuda
