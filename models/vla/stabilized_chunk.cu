#include "models/vla/penalty.cuh"
#include "models/vla/stabilized_chunk_cuda.hpp"

namespace vla::cuda {
namespace {

struct Layout {
  Place m, row, column;
};

__global__ void __launch_bounds__(kThreads)
    invert_kernel(Index count, Index heads, Index d, const double* penalties, double* inverses,
                  const Layout layout, const BlockMemory memory, ProblemNote* note) {
  const Index stride = stride_for(d);
  double* m = memory.at<double>(layout.m);
  for (Index i = blockIdx.x; i < count; i += gridDim.x) {
    __syncthreads();  // the last inverse may still be read
    copy_rows(d, d, penalties + i * d * d, d, m, stride);
    const bool positive = invert_in_place(d, m, stride, memory.at<double>(layout.row),
                                          memory.at<double>(layout.column));
    if (!positive && threadIdx.x == 0)
      PenaltyPlace{note, i / heads, i % heads}.found(Problem::stabilized_not_definite, 0);
    copy_rows(d, d, m, stride, inverses + i * d * d, d);
  }
}

// A warp for each sequence.
__global__ void count_kernel(Index batch, Index time, const Index* before,
                             const std::uint8_t* active, Index* updates) {
  for (Index b = thread_index() / kWarp; b < batch; b += thread_total() / kWarp) {
    const Index more =
        active ? warp_sum<Index>(time, [&](Index t) { return active[b * time + t] ? 1 : 0; }) : 0;
    if (threadIdx.x % kWarp == 0) updates[b] += more + (before ? before[b] : 0);
  }
}

}  // namespace

void invert_penalties(const Tensor& penalties, Tensor& inverses) {
  const Device device = penalties.device();
  const Index heads = penalties.size(1), count = penalties.size(0) * heads, d = penalties.size(-1);
  Room room(device);
  const Layout layout{room.take<double>(d * stride_for(d)), room.take<double>(d),
                      room.take<double>(d)};
  const Blocks blocks = room.blocks(count);
  Launch("stabilized_recurrence", device)(invert_kernel, blocks.grid, count, heads, d,
                                          penalties.data<double>(), inverses.mutable_data<double>(),
                                          layout, blocks.memory, problem_note(device));
}

void count_updates(const StabilizedInputs& in, Tensor& updates) {
  const Index batch = in.query.size(0), time = in.query.size(1);
  Launch("stabilized_recurrence", updates.device())(
      count_kernel, grid_for(batch * kWarp), batch, time, data_or_null<Index>(in.initial_updates),
      in.symbolic.defined() ? in.active.data<std::uint8_t>() : nullptr,
      updates.mutable_data<Index>());
}

}  // namespace vla::cuda
