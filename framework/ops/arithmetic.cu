#include <vector>

#include "framework/cuda/kernel.cuh"
#include "framework/ops/arithmetic_cuda.hpp"
#include "framework/ops/arithmetic_functions.hpp"

namespace vla::cuda {

using namespace arithmetic;

namespace {

constexpr int kMostAxes = 8;

// How the elements of a result are found in the operands: its axes, the innermost first, and how
// far apart neighbours along each are in a and in b (0 where the operand repeats). Neighbouring
// axes that both operands walk through as one are one.
template <class Count>
struct Walk {
  int axes = 0;
  Count sizes[kMostAxes];
  Count a_strides[kMostAxes], b_strides[kMostAxes];
};

template <class Count>
Walk<Count> walk_of(const Shape& a, const Shape& b, const Shape& result) {
  Walk<Count> walk;
  Index a_stride = 1, b_stride = 1;
  for (int axis = -1; axis >= -result.rank(); --axis) {
    const Index size = result[axis];
    const Index a_size = -axis <= a.rank() ? a[axis] : 1, b_size = -axis <= b.rank() ? b[axis] : 1;
    if (size != 1) {
      const Index a_step = a_size == 1 ? 0 : a_stride, b_step = b_size == 1 ? 0 : b_stride;
      const int last = walk.axes - 1;
      // The next element after the last of the inner axis is where this axis' first neighbour is.
      const bool merges = last >= 0 && a_step == walk.a_strides[last] * walk.sizes[last] &&
                          b_step == walk.b_strides[last] * walk.sizes[last];
      if (merges) {
        walk.sizes[last] *= static_cast<Count>(size);
      } else {
        check(walk.axes < kMostAxes, "broadcasting of ", a, " and ", b, " on CUDA: more than ",
              kMostAxes, " groups of axes");
        walk.sizes[walk.axes] = static_cast<Count>(size);
        walk.a_strides[walk.axes] = static_cast<Count>(a_step);
        walk.b_strides[walk.axes] = static_cast<Count>(b_step);
        ++walk.axes;
      }
    }
    a_stride *= a_size;
    b_stride *= b_size;
  }
  if (walk.axes == 0) {
    walk.axes = 1;
    walk.sizes[0] = 1;
    walk.a_strides[0] = walk.b_strides[0] = 0;
  }
  return walk;
}

struct Place {
  Index a, b;
};

// Where element i of the result is in the operands.
template <class Count>
__device__ Place place_of(const Walk<Count>& walk, Count i) {
  Place place{0, 0};
  for (int axis = 0; axis < walk.axes - 1; ++axis) {
    const Count next = i / walk.sizes[axis], at = i - next * walk.sizes[axis];
    place.a += Index(at) * walk.a_strides[axis];
    place.b += Index(at) * walk.b_strides[axis];
    i = next;
  }
  place.a += Index(i) * walk.a_strides[walk.axes - 1];
  place.b += Index(i) * walk.b_strides[walk.axes - 1];
  return place;
}

// `size` elements of an operand from `place` on, or one that repeats.
template <int size, class T, class Count>
__device__ void read(const T* x, Index place, Count stride, T* into) {
  if (stride == 0) {
#pragma unroll
    for (int j = 0; j < size; ++j) into[j] = x[place];
  } else if constexpr (size == Pack<T>::kSize) {
    *reinterpret_cast<Pack<T>*>(into) = *reinterpret_cast<const Pack<T>*>(x + place);
  } else {
#pragma unroll
    for (int j = 0; j < size; ++j) into[j] = x[place + j];
  }
}

// y in pieces of `size` elements, which lie along the innermost axis.
template <class Function, int size, class T, class Count>
__global__ void combine_kernel(Walk<Count> walk, const T* a, const T* b, T* y, Count pieces) {
  using A = Accumulated<T>;
  const Count piece = static_cast<Count>(thread_index());
  if (piece >= pieces) return;
  const Place place = place_of(walk, piece * size);
  alignas(16) T left[size], right[size], out[size];
  read<size>(a, place.a, walk.a_strides[0], left);
  read<size>(b, place.b, walk.b_strides[0], right);
#pragma unroll
  for (int j = 0; j < size; ++j) out[j] = T(Function::value(A(left[j]), A(right[j])));
  T* into = y + Index(piece) * size;
  if constexpr (size == Pack<T>::kSize) {
    *reinterpret_cast<Pack<T>*>(into) = *reinterpret_cast<const Pack<T>*>(out);
  } else {
#pragma unroll
    for (int j = 0; j < size; ++j) into[j] = out[j];
  }
}

template <int size, class T, class Count>
__global__ void broadcast_kernel(Walk<Count> walk, const T* x, T* y, Count pieces) {
  const Count piece = static_cast<Count>(thread_index());
  if (piece >= pieces) return;
  alignas(16) T out[size];
  read<size>(x, place_of(walk, piece * size).a, walk.a_strides[0], out);
  T* into = y + Index(piece) * size;
#pragma unroll
  for (int j = 0; j < size; ++j) into[j] = out[j];
}

// Calls launch(walk, integral constant of the size of a piece, pieces) with the narrowest count
// that will do, because divisions of 64 bits are slow. Pieces are of 16 bytes where they are
// aligned in both operands: every axis but the innermost steps by whole pieces.
template <class T, class Launcher>
void with_walk(const Tensor& a, const Tensor& b, const Tensor& y, Launcher launch) {
  const auto with = [&](auto zero) {
    using Count = decltype(zero);
    constexpr int size = Pack<T>::kSize;
    const Walk<Count> walk = walk_of<Count>(a.shape(), b.shape(), y.shape());
    bool whole = walk.sizes[0] % size == 0;
    for (int axis = 1; axis < walk.axes; ++axis)
      whole = whole && (walk.a_strides[0] == 0 || walk.a_strides[axis] % size == 0) &&
              (walk.b_strides[0] == 0 || walk.b_strides[axis] % size == 0);
    const Count count = static_cast<Count>(y.elements());
    if (whole)
      launch(walk, std::integral_constant<int, size>(), Count(count / size));
    else
      launch(walk, std::integral_constant<int, 1>(), count);
  };
  if (y.elements() == 0) return;
  if (y.elements() <= std::numeric_limits<std::int32_t>::max())
    with(std::uint32_t{});
  else
    with(std::uint64_t{});
}

template <class T>
__global__ void select_kernel(const std::uint8_t* mask, const T* a, const T* b, T* y, Index count) {
  for (Index i = thread_index(); i < count; i += thread_total()) y[i] = mask[i] ? a[i] : b[i];
}

template <class T>
__global__ void select_gradient_kernel(const std::uint8_t* mask, bool side, const T* dy, T* dx,
                                       Index count) {
  for (Index i = thread_index(); i < count; i += thread_total())
    dx[i] = (mask[i] != 0) == side ? dy[i] : T(0.0f);
}

}  // namespace

template <class Function>
void Binary<Function>::combine(const Tensor& a, const Tensor& b, Tensor& y) {
  dispatch_kernel(y.dtype(), Function::name, [&](auto zero) {
    using T = decltype(zero);
    with_walk<T>(a, b, y, [&](const auto& walk, auto size, auto pieces) {
      using Count = decltype(pieces);
      Launch(Function::name, y.device())(combine_kernel<Function, decltype(size)::value, T, Count>,
                                         grid_for(Index(pieces)), walk, a.data<T>(), b.data<T>(),
                                         y.mutable_data<T>(), pieces);
    });
  });
}

template struct Binary<Add>;
template struct Binary<Sub>;
template struct Binary<Mul>;
template struct Binary<Div>;

void broadcast(const Tensor& x, Tensor& y) {
  dispatch_any(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    with_walk<T>(x, x, y, [&](const auto& walk, auto size, auto pieces) {
      using Count = decltype(pieces);
      Launch("broadcast_to", y.device())(broadcast_kernel<decltype(size)::value, T, Count>,
                                         grid_for(Index(pieces)), walk, x.data<T>(),
                                         y.mutable_data<T>(), pieces);
    });
  });
}

void select(const Tensor& mask, const Tensor& a, const Tensor& b, Tensor& y) {
  dispatch_kernel(y.dtype(), "where", [&](auto zero) {
    using T = decltype(zero);
    Launch("where", y.device())(select_kernel<T>, grid_for(y.elements()), mask.data<std::uint8_t>(),
                                a.data<T>(), b.data<T>(), y.mutable_data<T>(), y.elements());
  });
}

void select_gradient(const Tensor& mask, bool side, const Tensor& dy, Tensor& dx) {
  dispatch_kernel(dx.dtype(), "where", [&](auto zero) {
    using T = decltype(zero);
    Launch("where", dx.device())(select_gradient_kernel<T>, grid_for(dx.elements()),
                                 mask.data<std::uint8_t>(), side, dy.data<T>(),
                                 dx.mutable_data<T>(), dx.elements());
  });
}

// Elementwise functions of arithmetic.cpp have no slope of their own: their gradients are maps too.
template void Elementwise<Scale>::map(const Scale&, const Tensor&, Tensor&);
template void Elementwise<Shift>::map(const Shift&, const Tensor&, Tensor&);

}  // namespace vla::cuda
