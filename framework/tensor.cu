#include "framework/cuda/piece.cuh"
#include "framework/tensor_cuda.hpp"

namespace vla::cuda {
namespace {

constexpr Index kMostBlocks = 1 << 16;

template <class T>
__global__ void fill_kernel(T value, T* into, Index count) {
  for (Index i = thread_index(); i < count; i += thread_total()) into[i] = value;
}

__global__ void count_kernel(Index begin, Index* into, Index count) {
  for (Index i = thread_index(); i < count; i += thread_total()) into[i] = begin + i;
}

template <class From, class Into>
__global__ void convert_kernel(const From* from, Into* into, Index count) {
  constexpr int size = 8;  // so that even the smaller type has 8 bytes or more at once
  const Index pieces = count / size;
  for (Index i = thread_index(); i < pieces; i += thread_total()) {
    const auto piece = read_piece<size>(from + i * size);
    Piece<Into, size> out;
#pragma unroll
    for (int j = 0; j < size; ++j) out.elements[j] = Into(piece.elements[j]);
    write_piece(into + i * size, out);
  }
  const Index rest = pieces * size + thread_index();
  if (rest < count) into[rest] = Into(from[rest]);
}

template <class T>
__global__ void accumulate_kernel(const T* value, T* into, Index count) {
  using A = Accumulated<T>;
  constexpr int size = Pack<T>::kSize;
  const Index packs = count / size;
  for (Index i = thread_index(); i < packs; i += thread_total()) {
    const Pack<T> more = reinterpret_cast<const Pack<T>*>(value)[i];
    Pack<T> sum = reinterpret_cast<Pack<T>*>(into)[i];
    for (int j = 0; j < size; ++j) sum.elements[j] = T(A(sum.elements[j]) + A(more.elements[j]));
    reinterpret_cast<Pack<T>*>(into)[i] = sum;
  }
  const Index rest = packs * size + thread_index();
  if (rest < count) into[rest] = T(A(into[rest]) + A(value[rest]));
}

__global__ void go_on_kernel(Index more, Index* count) { *count += more; }

}  // namespace

void fill(double value, Tensor& into) {
  const Index count = into.elements();
  if (value == 0 && !std::signbit(value))  // zeros are zero bytes in every type
    return dispatch_any(into.dtype(), [&](auto zero) {
      set_bytes(into.mutable_data<decltype(zero)>(), 0, into.bytes(), into.device());
    });
  dispatch_any(into.dtype(), [&](auto zero) {
    using T = decltype(zero);
    Launch("fill", into.device())(fill_kernel<T>, grid_for(count, kMostBlocks), T(value),
                                  into.mutable_data<T>(), count);
  });
}

void count_from(Index begin, Tensor& into) {
  const Index count = into.elements();
  Launch("range", into.device())(count_kernel, grid_for(count, kMostBlocks), begin,
                                 into.mutable_data<Index>(), count);
}

void convert(const Tensor& from, Tensor& into) {
  const Index count = from.elements();
  dispatch_any(from.dtype(), [&](auto from_zero) {
    dispatch_any(into.dtype(), [&](auto into_zero) {
      using From = decltype(from_zero);
      using Into = decltype(into_zero);
      Launch("cast", into.device())(convert_kernel<From, Into>,
                                    grid_for((count + 7) / 8, kMostBlocks), from.data<From>(),
                                    into.mutable_data<Into>(), count);
    });
  });
}

void accumulate(const Tensor& value, Tensor& into) {
  const Index count = into.elements();
  dispatch_kernel(into.dtype(), "accumulate", [&](auto zero) {
    using T = decltype(zero);
    Launch("accumulate", into.device())(
        accumulate_kernel<T>, grid_for((count + Pack<T>::kSize - 1) / Pack<T>::kSize, kMostBlocks),
        value.data<T>(), into.mutable_data<T>(), count);
  });
}

void go_on(std::uint64_t more, Tensor& counts, Index place) {
  Launch("random", counts.device())(go_on_kernel, {dim3(1), dim3(1)}, static_cast<Index>(more),
                                    counts.mutable_data<Index>() + place);
}

}  // namespace vla::cuda
