#include "framework/cuda/piece.cuh"
#include "framework/ops/dropout_cuda.hpp"

namespace vla::cuda {
namespace {

constexpr int kWords = 4;  // of a Philox block

template <class T>
__device__ T dropped(T x, std::uint32_t word, float threshold, Accumulated<T> factor) {
  return unit_interval(word) < threshold ? T(0) : T(widened(x) * factor);
}

// Each thread makes one Philox block and uses it for the elements that its words belong to: of the
// first and the last block perhaps not all are there.
template <class T>
__global__ void dropout_kernel(const T* x, RandomState state, const std::int64_t* ahead,
                               float threshold, Accumulated<T> factor, T* y, Index count) {
  if (ahead) state.position += static_cast<std::uint64_t>(*ahead);
  const Index skipped = static_cast<Index>(state.position % kWords);
  state.position -= skipped;
  const Index first = thread_index() * kWords - skipped;  // element of the block's first word
  if (first >= count) return;
  state.position += static_cast<std::uint64_t>(thread_index()) * kWords;
  const std::uint64_t block = state.position / kWords;
  const auto words = philox(
      {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
       static_cast<std::uint32_t>(state.stream), static_cast<std::uint32_t>(state.stream >> 32)},
      {static_cast<std::uint32_t>(state.seed), static_cast<std::uint32_t>(state.seed >> 32)});
  if (skipped == 0 && first + kWords <= count) {
    auto piece = read_piece<kWords>(x + first);
#pragma unroll
    for (int j = 0; j < kWords; ++j)
      piece.elements[j] = dropped(piece.elements[j], words[j], threshold, factor);
    write_piece(y + first, piece);
    return;
  }
#pragma unroll
  for (int j = 0; j < kWords; ++j)
    if (first + j >= 0 && first + j < count)
      y[first + j] = dropped(x[first + j], words[j], threshold, factor);
}

}  // namespace

void dropout(const Tensor& x, const RandomState& state, const std::int64_t* ahead, double rate,
             Tensor& y) {
  const Index count = x.elements();
  // One block more than the elements fill, because they may begin inside one.
  const Index blocks = count == 0 ? 0 : count / kWords + 2;
  dispatch_kernel(x.dtype(), "dropout", [&](auto zero) {
    using T = decltype(zero);
    Launch("dropout", x.device())(dropout_kernel<T>, grid_for(blocks), x.data<T>(), state, ahead,
                                  static_cast<float>(rate), Accumulated<T>(1 / (1 - rate)),
                                  y.mutable_data<T>(), count);
  });
}

}  // namespace vla::cuda
