#include "models/vla/least_squares.cuh"
#include "models/vla/least_squares_segments.cuh"

namespace vla::cuda {
namespace {

// A thread for each element of a head's matrices, a row of blocks for each head. Some sums are read
// before any is written, so that their latencies overlap.
template <class Number>
__global__ void scan_segments(Index heads, Index count, Index elements, bool reversed, Number* sums,
                              Number* totals) {
  constexpr int kTogether = 8;
  const Index element = thread_index();
  if (element >= elements) return;
  for (Index head = blockIdx.y; head < heads; head += gridDim.y) {
    const auto place = [&](Index s) {
      return sums + (head * count + (reversed ? count - 1 - s : s)) * elements + element;
    };
    Number total = 0;
    for (Index first = 0; first < count; first += kTogether) {
      Number of_segments[kTogether];
#pragma unroll
      for (int s = 0; s < kTogether; ++s)
        if (first + s < count) of_segments[s] = *place(first + s);
#pragma unroll
      for (int s = 0; s < kTogether; ++s)
        if (first + s < count) {
          *place(first + s) = total;
          total += of_segments[s];
        }
    }
    totals[head * elements + element] = total;
  }
}

__global__ void penalty_of_totals(LeastSquaresSizes n, Totals<double> added, const float* lambda0,
                                  double* penalty) {
  const Index of_head = Index(n.key) * n.key;
  for (Index i = thread_index(); i < n.all_heads() * of_head; i += thread_total()) {
    const Index head = i / of_head;
    const int row = static_cast<int>(i % of_head / n.key), column = static_cast<int>(i % n.key);
    // The mean of what rounding made unsymmetric.
    penalty[i] = (added(head, row, column) + added(head, column, row)) / 2 +
                 (row == column ? lambda0[head % n.heads] : 0.0);
  }
}

// A warp for each head.
__global__ void lambda0_of_totals(LeastSquaresSizes n, Totals<float> products, float* gradient) {
  const Index head = blockIdx.x;
  double sum = 0;
  for (Index b = 0; b < n.batch; ++b)
    for (int i = threadIdx.x; i < n.key; i += kWarp) sum += products(b * n.heads + head, i, i);
  sum = sum_of_team<kWarp>(sum);
  if (threadIdx.x == 0) gradient[head] = static_cast<float>(-sum);
}

}  // namespace

Segments segments_for(const LeastSquaresSizes& n, int at_once, Device device) {
  const Index chunks = (n.time + kTokens - 1) / kTokens;
  const Index blocks = Index(properties(device).multiprocessors) * at_once;
  // The start of a segment takes about as long as two chunks.
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

template <class Number>
void add_up_segments(const Segments& segments, Index elements, Number* sums, Number* totals,
                     bool reversed, Device device) {
  constexpr Index kMostRows = 65535;
  Grid grid = grid_for(elements);
  grid.blocks.y = static_cast<unsigned>(std::min(segments.all_heads(), kMostRows));
  Launch("least_squares prefix sums", device)(scan_segments<Number>, grid, segments.all_heads(),
                                              segments.count, elements, reversed, sums, totals);
}

template void add_up_segments(const Segments&, Index, float*, float*, bool, Device);
template void add_up_segments(const Segments&, Index, double*, double*, bool, Device);

void write_penalty(const LeastSquaresSizes& n, const Totals<double>& added, const float* lambda0,
                   double* penalty, Device device) {
  Launch("least_squares penalty", device)(
      penalty_of_totals, grid_for(n.all_heads() * n.key * n.key), n, added, lambda0, penalty);
}

void sum_lambda0(const LeastSquaresSizes& n, const Totals<float>& products, float* gradient,
                 Device device) {
  Launch("least_squares lambda0", device)(
      lambda0_of_totals, Grid{dim3(static_cast<unsigned>(n.heads)), kWarp}, n, products, gradient);
}

}  // namespace vla::cuda
