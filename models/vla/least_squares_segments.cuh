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

}  // namespace vla::cuda
