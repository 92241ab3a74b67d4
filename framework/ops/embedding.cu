#include "framework/cuda/columns.cuh"
#include "framework/cuda/units.cuh"
#include "framework/ops/embedding_cuda.hpp"

namespace vla::cuda {
namespace {

// A thread for each unit of y; a row is `width` units.
template <class Unit, class Counter>
__global__ void gather_kernel(const Unit* table, Index table_rows, const Index* tokens, Index width,
                              Unit* y, Index count, ProblemNote* note) {
  if (thread_index() >= count) return;
  const Counter i = static_cast<Counter>(thread_index()), per_row = static_cast<Counter>(width);
  const Index place = i / per_row, column = i % per_row, token = tokens[place];
  if (token >= 0 && token < table_rows) {
    y[thread_index()] = table[token * width + column];
    return;
  }
  y[thread_index()] = Unit{};
  if (column == 0) report(note, {.problem = Problem::token, .value = token, .limit = table_rows});
}

constexpr int kColumns = 4;  // that a thread adds up at once

// The places begin .. end-1 of `tokens` where `token` stands, kThreads at a time in their order,
// are handed to `use(places, count)`. All threads of the block must take part.
template <class Use>
__device__ void each_place(const Index* tokens, Index begin, Index end, Index token,
                           const Use& use) {
  __shared__ Index places[kThreads];
  __shared__ int warp_counts[kThreads / kWarp];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (Index chunk = begin; chunk < end; chunk += kThreads) {
    const Index place = chunk + threadIdx.x;
    const bool here = place < end && tokens[place] == token;
    // Also waits until `places` has been used.
    if (!__syncthreads_or(here)) continue;
    const unsigned found = __ballot_sync(0xFFFFFFFF, here);
    if (lane == 0) warp_counts[warp] = __popc(found);
    __syncthreads();
    int before = __popc(found & ((1u << lane) - 1)), count = 0;
    for (int i = 0; i < kThreads / kWarp; ++i) {
      if (i < warp) before += warp_counts[i];
      count += warp_counts[i];
    }
    if (here) places[before] = place;
    __syncthreads();
    use(places, count);
  }
}

// sums (segments, V, width): what the tokens of a segment add to each row of the table. A block
// works on one row and one segment.
template <class T, class Sums>
__global__ void scatter_kernel(const T* dy, const Index* tokens, Index count, Index segment,
                               Index table_rows, Index width, Sums* sums) {
  const Index token = Index(blockIdx.x) % table_rows, part = Index(blockIdx.x) / table_rows;
  const Index begin = part * segment, end = std::min(count, begin + segment);
  for (Index tile = 0; tile < width; tile += kColumns * kThreads) {
    double totals[kColumns] = {};
    const Index first = tile + threadIdx.x;
    each_place(tokens, begin, end, token, [&](const Index* places, int found) {
#pragma unroll 4
      for (int i = 0; i < found; ++i) {
        const T* row = dy + places[i] * width;
#pragma unroll
        for (int j = 0; j < kColumns; ++j)
          if (first + j * kThreads < width)
            totals[j] += double(Accumulated<T>(row[first + j * kThreads]));
      }
    });
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
      if (first + j * kThreads < width)
        sums[Index(blockIdx.x) * width + first + j * kThreads] = Sums(totals[j]);
  }
}

}  // namespace

void gather_rows(const Tensor& table, const Tensor& tokens, Tensor& y) {
  const Index bytes = table.size(1) * static_cast<Index>(element_bytes(table.dtype()));
  const Index unit = unit_bytes(bytes), width = bytes / unit, count = tokens.elements() * width;
  with_unit(unit, [&](auto unit) {
    with_counter(count, [&](auto counter) {
      using Unit = decltype(unit);
      Launch("embedding", y.device())(gather_kernel<Unit, decltype(counter)>, grid_for(count),
                                      units_of<Unit>(table), table.size(0), tokens.data<Index>(),
                                      width, mutable_units_of<Unit>(y), count,
                                      problem_note(y.device()));
    });
  });
}

// Every block looks at all tokens of its segment. A small table alone would leave most of the
// device idle, so then there are several segments, whose sums are added up afterwards.
void scatter_rows(const Tensor& dy, const Tensor& tokens, Tensor& dtable) {
  const Index rows = dtable.size(0), width = dtable.size(1), count = tokens.elements();
  const Index wanted = parts_of(kWantedBlocks, std::max<Index>(rows, 1));
  const Index segment = std::max<Index>(1024, parts_of(count, wanted));
  const Index segments = std::max<Index>(1, parts_of(count, segment));
  Tensor sums = dtable;
  if (segments > 1) sums = Tensor({segments, rows, width}, DType::float64, dtable.device());
  dispatch_kernel(dy.dtype(), "embedding", [&](auto zero) {
    dispatch_kernel(sums.dtype(), "embedding", [&](auto sums_zero) {
      using T = decltype(zero);
      using Sums = decltype(sums_zero);
      Launch("embedding", dy.device())(
          scatter_kernel<T, Sums>, grid_for(rows * segments * kThreads), dy.data<T>(),
          tokens.data<Index>(), count, segment, rows, width, sums.mutable_data<Sums>());
    });
  });
  if (segments > 1)
    reduce_run(SumFold(), sums, {.length = segments, .inner = rows * width}, dtable);
}

}  // namespace vla::cuda
