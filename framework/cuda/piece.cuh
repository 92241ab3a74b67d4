// A few neighbouring elements that a thread reads and writes at once.
#pragma once

#include "framework/cuda/kernel.cuh"

namespace vla::cuda {

/// The piece that begins at `place`; there must be a multiple of `size` elements before it.
template <int size, class T>
__device__ Piece<T, size> read_piece(const T* place) {
  return *reinterpret_cast<const Piece<T, size>*>(place);
}
template <int size, class T>
__device__ void write_piece(T* place, const Piece<T, size>& piece) {
  *reinterpret_cast<Piece<T, size>*>(place) = piece;
}

/// What bfloat16 is computed in, or the element itself.
template <class T>
__device__ Accumulated<T> widened(T x) {
  return Accumulated<T>(x);
}

/// Calls `function(std::integral_constant<int, size>{})` with the elements that a pack of T holds
/// if `width` is a multiple of that, and with 1 otherwise.
template <class T, class Function>
void with_piece_size(Index width, Function&& function) {
  if (width % Pack<T>::kSize == 0)
    function(std::integral_constant<int, Pack<T>::kSize>());
  else
    function(std::integral_constant<int, 1>());
}

}  // namespace vla::cuda
