// What kernels are written with: launches that are checked, a dispatch over element types, packs of
// 16 bytes, sums over the threads of a team in one fixed order, and notes of what is wrong.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "framework/cuda/launches.hpp"
#include "framework/cuda/problem.hpp"
#include "framework/cuda/runtime.hpp"
#include "framework/tensor.hpp"

namespace vla::cuda {

inline constexpr int kThreads = 256;  // of a block, where nothing speaks for another number
inline constexpr int kWarp = 32;

/// How many blocks of threads, and the bytes of dynamic shared memory of each.
struct Grid {
  dim3 blocks;
  dim3 threads = kThreads;
  std::size_t shared = 0;
};

/// A grid with one thread for each of `count` pieces of work, and at most `most` blocks: kernels
/// that stride over their work need no more.
inline Grid grid_for(Index count, Index most = std::numeric_limits<int>::max()) {
  const Index blocks = std::min((count + kThreads - 1) / kThreads, most);
  return {dim3(static_cast<unsigned>(blocks))};
}

/// Launches kernels on behalf of an op:  Launch("softmax", x.device())(kernel<T>, grid, arguments).
/// A grid without blocks launches nothing, so that size 0 needs no thought.
class Launch {
 public:
  /// On behalf of an op, whose name must outlive it.
  Launch(const char* op, Device device) : op_(op), device_(device) {}

  /// Begins the kernel; arguments are converted to its parameters. Throws Error that names the op
  /// if it cannot be begun.
  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), const Grid& grid, Arguments&&... arguments) const {
    if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
    const auto on = static_cast<cudaStream_t>(stream(device_));
    if (grid.shared > 48 * 1024)
      check_status(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(grid.shared)),
                   op_);
    Begun begun(op_, device_);
    kernel<<<grid.blocks, grid.threads, grid.shared, on>>>(static_cast<Parameters>(arguments)...);
    begun.finish();
  }

 private:
  const char* op_;
  Device device_;
};

/// Calls `function(T{})` with T the element type of a floating `dtype`, bfloat16 among them.
template <class Function>
decltype(auto) dispatch_kernel(DType dtype, std::string_view op, Function&& function) {
  if (dtype == DType::bfloat16) return function(BFloat16{});
  return dispatch_floating(dtype, op, function);
}

/// A few neighbouring elements, read and written at once; see piece.cuh.
template <class T, int size>
struct alignas(size * sizeof(T) < 16 ? size * sizeof(T) : 16) Piece {
  static constexpr int kSize = size;
  T elements[size];
};
/// 16 bytes of elements. Tensors begin at multiples of 256 bytes.
template <class T>
using Pack = Piece<T, 16 / sizeof(T)>;

/// The number of this thread among all of the grid's first dimension.
__device__ inline Index thread_index() { return Index(blockIdx.x) * blockDim.x + threadIdx.x; }
/// How many threads there are.
__device__ inline Index thread_total() { return Index(gridDim.x) * blockDim.x; }

/// Adds, for combine_team.
struct Sum {
  /// a + b.
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
/// Takes the larger, for combine_team.
struct Max {
  /// NaN wins, as an error must not be hidden.
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a >= b || a != a ? a : b;
  }
};

/// `value` of all threads of a team combined, in every one of them, always in the same order. A
/// team is a warp, or a whole block of `team` threads (a multiple of 32, up to 1024); all of its
/// threads must take part.
template <int team, class T, class Combine>
__device__ T combine_team(T value, Combine combine) {
  for (int lane = kWarp / 2; lane > 0; lane /= 2)
    value = combine(value, __shfl_xor_sync(0xFFFFFFFF, value, lane));
  if constexpr (team > kWarp) {
    static_assert(team % kWarp == 0 && team <= 1024);
    __shared__ T parts[team / kWarp];
    __syncthreads();  // an earlier call may still be reading
    if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = value;
    __syncthreads();
    value = parts[0];
    for (int warp = 1; warp < team / kWarp; ++warp) value = combine(value, parts[warp]);
  }
  return value;
}
/// The sum of a team's values: see combine_team.
template <int team, class T>
__device__ T sum_of_team(T value) {
  return combine_team<team>(value, Sum());
}
/// The largest of a team's values: see combine_team.
template <int team, class T>
__device__ T max_of_team(T value) {
  return combine_team<team>(value, Max());
}

/// Leaves a note of a problem, unless there is one already.
__device__ inline void report(ProblemNote* note, const ProblemNote& found) {
  if (atomicCAS(&note->taken, 0, 1) != 0) return;
  note->value = found.value;
  note->limit = found.limit;
  note->number = found.number;
  note->sequence = found.sequence;
  note->head = found.head;
  note->time = found.time;
  note->problem = found.problem;
}

}  // namespace vla::cuda
