#include "models/vla/least_squares.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {
namespace {

// A thread for each element of a head's matrices.
__global__ void scan_segments(Index heads, Index count, Index elements, bool reversed, float* sums,
                              float* totals) {
  for (Index i = thread_index(); i < heads * elements; i += thread_total()) {
    const Index head = i / elements, element = i % elements;
    float total = 0;
#pragma unroll 8
    for (Index s = 0; s < count; ++s) {
      float& sum = sums[(head * count + (reversed ? count - 1 - s : s)) * elements + element];
      const float mine = sum;
      sum = total;
      total += mine;
    }
    totals[i] = total;
  }
}

}  // namespace

Segments segments_for(const LeastSquaresSizes& n, int at_once, Device device) {
  const Index chunks = (n.time + kTokens - 1) / kTokens;
  const Index blocks = Index(properties(device).multiprocessors) * at_once;
  // The start of a segment, a factorisation and two divisions, takes about as long as two chunks.
  constexpr Index kStart = 2, kMost = 64;
  Index length = 1, least = std::numeric_limits<Index>::max();
  for (Index candidate = 1; candidate <= std::min(chunks, kMost); ++candidate) {
    const Index segments = n.all_heads() * ((chunks + candidate - 1) / candidate);
    const Index cost = (segments + blocks - 1) / blocks * (candidate + kStart);
    if (cost < least) {
      least = cost;
      length = candidate;
    }
  }
  return {n.batch, n.heads, chunks, length, (chunks + length - 1) / length};
}

void add_up_segments(const Segments& segments, Index elements, float* sums, float* totals,
                     bool reversed, Device device) {
  Launch("least_squares prefix sums", device)(
      scan_segments, grid_for(segments.all_heads() * elements), segments.all_heads(),
      segments.count, elements, reversed, sums, totals);
}

}  // namespace vla::cuda
