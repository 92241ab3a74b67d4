// How sequences are cut into segments that are computed at the same time.
#pragma once

#include "framework/cuda/kernel.cuh"
#include "models/vla/recursive_least_squares_cuda.hpp"

namespace vla::cuda {

struct SegmentPlace {
  Index head;        // of all sequences
  Index first, end;  // chunks
};

struct Segments {
  Index heads;   // of all sequences
  Index chunks;  // of a sequence
  Index length;  // chunks of a segment, but the last
  Index count;   // segments of a sequence

  Index total() const { return heads * count; }
  __device__ SegmentPlace place(Index segment) const {
    const Index first = segment % count * length;
    return {segment / count, first, min(first + length, chunks)};
  }
  /// Where the stacked matrix (2 width, width) of a segment begins.
  __device__ Index offset(Index segment, int width) const { return segment * 2 * width * width; }
};

/// Segments for blocks of which `at_once` run on a multiprocessor at the same time.
Segments segments_for(const LeastSquaresSizes& n, int at_once, Device device);

/// sums (segments, elements) <- what the segments of the same head before each of them sum to, or
/// with `reversed` those after it; totals (heads, elements) <- all of them.
void add_up_segments(const Segments& segments, Index elements, float* sums, float* totals,
                     bool reversed, const Launch& launch);

}  // namespace vla::cuda
