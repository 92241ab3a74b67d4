// Softmax attention in tiles: the scores of some queries and some keys at a time, in the registers
// of a warp, never all T^2 of them. Forward keeps for each query the largest score so far and sums
// relative to it; backward makes the weights anew from the logarithm of the sum.
// Source: Dao, "FlashAttention-2", 2023.
//
// Products are of one bfloat16 part for bfloat16 inputs: scores are exact but for the order of
// their sum, weights and their gradients are rounded to 2^-9 each before they are multiplied on.
// float32 inputs have three parts, whose products are as good as float32's; the tensor cores cut
// sums off where float32 rounds them, so that errors grow with T. Measured against float64 on an
// H100, largest relative RMS over the tests' widths and lengths up to 1000:
//
//               o        gradients   gradients at scores 50 times as large
//   bfloat16    2.4e-3   4.7e-3      7.3e-3
//   float32     2.5e-6   9.3e-6      1.1e-5
//
// Every sum is made within one block in one order, so that nothing depends on when blocks run. That
// is why backward is two kernels, one with the gradients of a block's keys, one with those of its
// queries, at the price of making the weights twice.
#pragma once

#include "framework/cuda/panel.cuh"
#include "models/softmax_transformer/softmax_attention_cuda.hpp"

namespace vla::cuda {

inline constexpr int kMostWidth = 128;

/// How a block shares out its work. A warp has `strips` strips of 16 rows that stay, against
/// `columns` rows at a time that pass by, `at_once` of them in registers. With `held` the rows that
/// stay are in registers too, where they would otherwise be read from shared memory for each tile.
struct Shares {
  int warps, strips, columns, at_once;
  bool held;
};

// As measured on an H100 (8 choices or so for each kernel). Two strips halve what is read from
// shared memory, which is as busy as the tensor cores; where they or the rows held do not fit
// beside the sums into 255 registers, one of the two has to go. float32 has three parts of
// everything.
constexpr Shares forward_shares(bool bfloat16, int width) {
  if (!bfloat16) return {.warps = 4, .strips = 1, .columns = 16, .at_once = 16, .held = false};
  return {.warps = 4, .strips = 2, .columns = 64, .at_once = 64, .held = width <= 64};
}
constexpr Shares gradient_shares(bool bfloat16, int width, bool of_keys) {
  if (!bfloat16) return {.warps = 4, .strips = 1, .columns = 16, .at_once = 16, .held = false};
  if (width <= 64) return {.warps = 4, .strips = 2, .columns = 64, .at_once = 32, .held = !of_keys};
  if (of_keys) return {.warps = 8, .strips = 1, .columns = 64, .at_once = 16, .held = true};
  return {.warps = 4, .strips = 2, .columns = 32, .at_once = 32, .held = false};
}

/// The rows that pass by have two stages in shared memory: one is multiplied while the next
/// arrives.
template <class T, int width, Shares shares>
struct Plan {
  static constexpr int kParts = std::is_same_v<T, BFloat16> ? 1 : 3;
  static constexpr int kWidth = width, kBlocks = width / kSide;
  static constexpr int kStrips = shares.strips, kThreads = kWarp * shares.warps;
  static constexpr int kRowsOfWarp = kSide * kStrips, kRows = kRowsOfWarp * shares.warps;
  static constexpr int kColumns = shares.columns, kAtOnce = shares.at_once;
  static constexpr bool kHeld = shares.held;
  using Matrix = Split<kParts, width>;
  static constexpr int kStay = Matrix::bytes(kRows), kPass = Matrix::bytes(kColumns);
};
template <class T, int width>
using ForwardPlan = Plan<T, width, forward_shares(std::is_same_v<T, BFloat16>, width)>;
template <class T, int width, bool of_keys>
using GradientPlan = Plan<T, width, gradient_shares(std::is_same_v<T, BFloat16>, width, of_keys)>;

template <class P>
constexpr std::size_t forward_bytes() {
  return P::kStay + 4 * P::kPass;
}
template <class P>
constexpr std::size_t gradient_bytes() {
  return 2 * P::kStay + 4 * P::kPass + 4 * P::kColumns * sizeof(float);
}

/// A matrix in the block's shared memory, `offset` bytes from its beginning.
template <class Matrix>
__device__ Matrix matrix_at(unsigned char* memory, int offset, int rows) {
  return {reinterpret_cast<BFloat16*>(memory + offset), Matrix::part_elements(rows)};
}

/// 2^x to 2^-22 of its value; numbers too small to be normal are 0.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// `value` combined over the four threads that share a row of a tile.
template <class Combine>
__device__ float combine_row(float value, Combine combine) {
  value = combine(value, __shfl_xor_sync(0xFFFFFFFF, value, 1));
  return combine(value, __shfl_xor_sync(0xFFFFFFFF, value, 2));
}

/// Calls work(row, column, value) for this thread's elements; `row` is 0 or 1, for tile_row(row).
template <int n, class Work>
__device__ void for_strip(Strip<n>& strip, Work work) {
#pragma unroll
  for (int block = 0; block < n; ++block)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        work(j / 2, kSide * block + tile_column(i) + j % 2, strip.tiles[block].values[i][j]);
}

/// Calls function(T{}, std::integral_constant<int, width>{}) with the least width that kernels have
/// and that holds keys and values.
template <class Function>
void with_width(const SoftmaxAttentionSizes& n, DType dtype, Function&& function) {
  const Index width = std::max(n.key, n.value);
  const auto of_type = [&](auto zero) {
    if (width <= 16)
      function(zero, std::integral_constant<int, 16>());
    else if (width <= 32)
      function(zero, std::integral_constant<int, 32>());
    else if (width <= 64)
      function(zero, std::integral_constant<int, 64>());
    else
      function(zero, std::integral_constant<int, kMostWidth>());
  };
  if (dtype == DType::bfloat16)
    of_type(BFloat16{});
  else
    of_type(float{});
}

template <class P>
Grid grid_of(const SoftmaxAttentionSizes& n, Index rows, std::size_t bytes) {
  const Index blocks = n.batch * n.heads * ((rows + P::kRows - 1) / P::kRows);
  return {dim3(static_cast<unsigned>(blocks)), dim3(P::kThreads), bytes};
}

inline double shrink_of(const SoftmaxAttentionSizes& n) {
  return 1 / std::sqrt(static_cast<double>(n.key));
}
/// Powers are of 2: scores are multiplied by the logarithm of e too.
inline float scale_of(const SoftmaxAttentionSizes& n) {
  return static_cast<float>(shrink_of(n) * 1.4426950408889634);
}

}  // namespace vla::cuda
