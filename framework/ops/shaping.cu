#include "framework/cuda/piece.cuh"
#include "framework/cuda/units.cuh"
#include "framework/ops/shaping_cuda.hpp"

namespace vla::cuda {
namespace {

// --- permute ------------------------------------------------------------------------------------

constexpr int kMostAxes = 8;

// The axes of a result and where their elements are in the operand and in the result.
struct Axes {
  int count = 0;
  Index sizes[kMostAxes], from[kMostAxes], into[kMostAxes];
};

// The axes of a permuted x, without those of size 1; neighbours that are so in x too are one.
Axes merged_axes(const Tensor& x, const std::vector<int>& order) {
  std::vector<Index> strides(static_cast<std::size_t>(x.rank()), 1);
  for (int axis = x.rank() - 2; axis >= 0; --axis)
    strides[static_cast<std::size_t>(axis)] =
        strides[static_cast<std::size_t>(axis + 1)] * x.size(axis + 1);
  Axes axes;
  for (int axis : order) {
    const Index size = x.size(axis), stride = strides[static_cast<std::size_t>(axis)];
    if (size == 1) continue;
    const int last = axes.count - 1;
    if (last >= 0 && axes.from[last] == stride * size) {
      axes.sizes[last] *= size;
      axes.from[last] = stride;
      continue;
    }
    check(axes.count < kMostAxes, "permute: more than ", kMostAxes, " axes move in shape ",
          x.shape(), " on CUDA");
    axes.sizes[axes.count] = size;
    axes.from[axes.count++] = stride;
  }
  Index stride = 1;
  for (int axis = axes.count - 1; axis >= 0; stride *= axes.sizes[axis--]) axes.into[axis] = stride;
  return axes;
}

// A thread for each unit of the result.
template <class Unit, class Counter>
__global__ void permute_kernel(const Unit* x, Axes axes, Unit* y, Index count) {
  if (thread_index() >= count) return;
  Counter rest = static_cast<Counter>(thread_index());
  Index from = 0;
  for (int axis = axes.count - 1; axis >= 0; --axis) {
    const Counter size = static_cast<Counter>(axes.sizes[axis]);
    from += static_cast<Index>(rest % size) * axes.from[axis];
    rest /= size;
  }
  y[thread_index()] = x[from];
}

constexpr int kTile = 32;

// Swaps two axes through tiles in shared memory: one whose elements are neighbours in x, `near`,
// and the last of the result, `last`. Both are read and written along the threads of a warp.
struct Swap {
  Index near_size, near_into, near_tiles;
  Index last_size, last_from, last_tiles;
};

template <class Unit>
__global__ void swap_kernel(const Unit* x, Axes others, Swap swap, Unit* y) {
  __shared__ Unit tile[kTile][kTile + 1];
  Index rest = blockIdx.x;
  const Index last = rest % swap.last_tiles * kTile;
  rest /= swap.last_tiles;
  const Index near = rest % swap.near_tiles * kTile;
  rest /= swap.near_tiles;
  for (int axis = others.count - 1; axis >= 0; --axis) {
    const Index index = rest % others.sizes[axis];
    rest /= others.sizes[axis];
    x += index * others.from[axis];
    y += index * others.into[axis];
  }
  const int side = threadIdx.x;
  for (int row = threadIdx.y; row < kTile; row += blockDim.y)
    if (last + row < swap.last_size && near + side < swap.near_size)
      tile[row][side] = x[(last + row) * swap.last_from + near + side];
  __syncthreads();
  for (int row = threadIdx.y; row < kTile; row += blockDim.y)
    if (near + row < swap.near_size && last + side < swap.last_size)
      y[(near + row) * swap.near_into + last + side] = tile[side][row];
}

// The result's last axis is also the operand's: runs of elements stay together.
void permute_runs(const Tensor& x, Axes axes, Tensor& y) {
  const Index bytes = static_cast<Index>(element_bytes(x.dtype()));
  const int last = axes.count - 1;
  // Every other stride is a multiple of the run, so the unit divides those too.
  const bool runs = last >= 0 && axes.from[last] == 1;
  const Index unit = runs ? unit_bytes(axes.sizes[last] * bytes) : bytes, elements = unit / bytes;
  for (int axis = 0; axis < last; ++axis) axes.from[axis] /= elements;
  if (runs) axes.sizes[last] /= elements;
  const Index count = x.elements() / elements;
  with_unit(unit, [&](auto unit) {
    with_counter(count, [&](auto counter) {
      using Unit = decltype(unit);
      Launch("permute", x.device())(permute_kernel<Unit, decltype(counter)>, grid_for(count),
                                    units_of<Unit>(x), axes, mutable_units_of<Unit>(y), count);
    });
  });
}

void permute_tiles(const Tensor& x, const Axes& axes, int near, Tensor& y) {
  const int last = axes.count - 1;
  Axes others;
  Index blocks = 1;
  for (int axis = 0; axis < last; ++axis) {
    if (axis == near) continue;
    others.sizes[others.count] = axes.sizes[axis];
    others.from[others.count] = axes.from[axis];
    others.into[others.count++] = axes.into[axis];
    blocks *= axes.sizes[axis];
  }
  const Swap swap{axes.sizes[near], axes.into[near], (axes.sizes[near] + kTile - 1) / kTile,
                  axes.sizes[last], axes.from[last], (axes.sizes[last] + kTile - 1) / kTile};
  blocks *= swap.near_tiles * swap.last_tiles;
  with_unit(static_cast<Index>(element_bytes(x.dtype())), [&](auto unit) {
    using Unit = decltype(unit);
    Launch("permute", x.device())(swap_kernel<Unit>,
                                  Grid{dim3(static_cast<unsigned>(blocks)), dim3(kTile, 8)},
                                  units_of<Unit>(x), others, swap, mutable_units_of<Unit>(y));
  });
}

// --- copies of blocks, masks --------------------------------------------------------------------

template <class Unit, class Counter>
__global__ void copy_blocks_kernel(const Unit* x, Index from_stride, Unit* y, Index to_stride,
                                   Index block, Index count) {
  if (thread_index() >= count) return;
  const Counter i = static_cast<Counter>(thread_index()), width = static_cast<Counter>(block);
  const Index outer = i / width, inner = i % width;
  y[outer * to_stride + inner] = x[outer * from_stride + inner];
}

template <class T, int size, class Counter>
__global__ void lower_triangle_kernel(const T* x, T value, Index width, T* y, Index pieces) {
  if (thread_index() >= pieces) return;
  const Counter i = static_cast<Counter>(thread_index());
  const Counter in_row = static_cast<Counter>(width / size), row = i / in_row;
  const Index diagonal = row % static_cast<Counter>(width);
  const Index column = Index(i % in_row) * size;
  auto piece = read_piece<size>(x + thread_index() * size);
#pragma unroll
  for (int j = 0; j < size; ++j)
    if (column + j > diagonal) piece.elements[j] = value;
  write_piece(y + thread_index() * size, piece);
}

}  // namespace

void permute(const Tensor& x, const std::vector<int>& order, Tensor& y) {
  if (x.elements() == 0) return;
  const Axes axes = merged_axes(x, order);
  const int last = axes.count - 1;
  int near = last;  // the axis whose elements are neighbours in x
  for (int axis = 0; axis < last; ++axis)
    if (axes.from[axis] == 1) near = axis;
  if (near != last && axes.sizes[near] >= 8 && axes.sizes[last] >= 8)
    permute_tiles(x, axes, near, y);
  else
    permute_runs(x, axes, y);
}

void copy_blocks(const char* op, const Tensor& x, Index from_offset, Tensor& y, Index to_offset,
                 Index count, Index outer) {
  const Index bytes = static_cast<Index>(element_bytes(x.dtype()));
  const Index from_stride = x.elements() / outer, to_stride = y.elements() / outer;
  const Index unit = unit_bytes(count * bytes, from_offset * bytes, from_stride * bytes,
                                to_offset * bytes, to_stride * bytes);
  const Index elements = unit / bytes, total = count / elements * outer;
  with_unit(unit, [&](auto unit) {
    with_counter(total, [&](auto counter) {
      using Unit = decltype(unit);
      Launch(op, x.device())(copy_blocks_kernel<Unit, decltype(counter)>, grid_for(total),
                             units_of<Unit>(x) + from_offset / elements, from_stride / elements,
                             mutable_units_of<Unit>(y) + to_offset / elements, to_stride / elements,
                             count / elements, total);
    });
  });
}

void lower_triangle(const Tensor& x, double value, Tensor& y) {
  const Index width = x.size(-1);
  dispatch_kernel(x.dtype(), "causal_mask", [&](auto zero) {
    using T = decltype(zero);
    with_piece_size<T>(width, [&](auto size) {
      const Index pieces = x.elements() / size;
      with_counter(pieces, [&](auto counter) {
        Launch("causal_mask", x.device())(lower_triangle_kernel<T, size, decltype(counter)>,
                                          grid_for(pieces), x.data<T>(), T(value), width,
                                          y.mutable_data<T>(), pieces);
      });
    });
  });
}

}  // namespace vla::cuda
