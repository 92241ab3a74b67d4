#include <vector>

#include "framework/cuda/piece.cuh"
#include "framework/ops/arithmetic_cuda.hpp"
#include "framework/ops/arithmetic_functions.hpp"

namespace vla::cuda {

using namespace arithmetic;

namespace {

constexpr int kMostAxes = 8;

// Division by a number that is known beforehand, as a multiplication: several times as fast. For
// counts up to 2^31. Source: Granlund and Montgomery, "Division by invariant integers using
// multiplication", PLDI 1994.
struct Divisor {
  std::uint32_t divisor = 1, multiplier = 1, shift = 0;
  Divisor() = default;
  explicit Divisor(std::uint32_t by) : divisor(by) {
    while (shift < 31 && (1u << shift) < by) ++shift;
    multiplier = static_cast<std::uint32_t>(
        ((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - by)) / by + 1);
  }
  __device__ std::uint32_t quotient(std::uint32_t n) const {
    return (__umulhi(n, multiplier) + n) >> shift;
  }
};

// How the elements of a result are found in the operands: its axes, the innermost first, and how
// far apart neighbours along each are in a and in b (0 where the operand repeats). Neighbouring
// axes that both operands walk through as one are one.
template <class Count>
struct Walk {
  int axes = 0;
  Count sizes[kMostAxes];
  Divisor divisors[kMostAxes];  // by the sizes, where Count is of 32 bits
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
  if constexpr (sizeof(Count) == 4)
    for (int axis = 0; axis < walk.axes; ++axis) walk.divisors[axis] = Divisor(walk.sizes[axis]);
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
    Count next;
    if constexpr (sizeof(Count) == 4)
      next = walk.divisors[axis].quotient(i);
    else
      next = i / walk.sizes[axis];
    const Count at = i - next * walk.sizes[axis];
    place.a += Index(at) * walk.a_strides[axis];
    place.b += Index(at) * walk.b_strides[axis];
    i = next;
  }
  place.a += Index(i) * walk.a_strides[walk.axes - 1];
  place.b += Index(i) * walk.b_strides[walk.axes - 1];
  return place;
}

// A piece of an operand from `place` on, or one element that repeats.
template <int size, class T, class Count>
__device__ Piece<T, size> read(const T* x, Index place, Count stride) {
  if (stride != 0) return read_piece<size>(x + place);
  Piece<T, size> piece;
  const T element = x[place];
#pragma unroll
  for (int j = 0; j < size; ++j) piece.elements[j] = element;
  return piece;
}

// y in pieces, which lie along the innermost axis; each thread makes kPieces of them, a whole grid
// apart, so that several reads are on their way at once.
constexpr int kPieces = 4;

template <class Function, int size, bool simple, class T, class Count>
__global__ void combine_kernel(Walk<Count> walk, const T* a, const T* b, T* y, Count pieces) {
  Piece<T, size> left[kPieces], right[kPieces];
  const Count first = static_cast<Count>(Index(blockIdx.x) * kPieces * kThreads + threadIdx.x);
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const Count piece = first + i * kThreads;
    if (piece >= pieces) continue;
    const Index element = Index(piece) * size;
    const Place place =
        simple ? Place{element * Index(walk.a_strides[0]), element * Index(walk.b_strides[0])}
               : place_of(walk, static_cast<Count>(element));
    left[i] = read<size>(a, place.a, walk.a_strides[0]);
    right[i] = read<size>(b, place.b, walk.b_strides[0]);
  }
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const Count piece = first + i * kThreads;
    if (piece >= pieces) continue;
    Piece<T, size> out;
#pragma unroll
    for (int j = 0; j < size; ++j)
      out.elements[j] =
          T(Function::value(widened(left[i].elements[j]), widened(right[i].elements[j])));
    write_piece(y + Index(piece) * size, out);
  }
}

template <int size, class T, class Count>
__global__ void broadcast_kernel(Walk<Count> walk, const T* x, T* y, Count pieces) {
  const Count first = static_cast<Count>(Index(blockIdx.x) * kPieces * kThreads + threadIdx.x);
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const Count piece = first + i * kThreads;
    if (piece >= pieces) continue;
    const Index element = Index(piece) * size;
    write_piece(y + element,
                read<size>(x, place_of(walk, static_cast<Count>(element)).a, walk.a_strides[0]));
  }
}

Grid grid_for_pieces(Index pieces) { return grid_for((pieces + kPieces - 1) / kPieces); }

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
      constexpr int elements = decltype(size)::value;
      const auto launch = [&](auto simple) {
        Launch(Function::name, y.device())(
            combine_kernel<Function, elements, decltype(simple)::value, T, Count>,
            grid_for_pieces(Index(pieces)), walk, a.data<T>(), b.data<T>(), y.mutable_data<T>(),
            pieces);
      };
      walk.axes == 1 ? launch(std::true_type()) : launch(std::false_type());
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
                                         grid_for_pieces(Index(pieces)), walk, x.data<T>(),
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
