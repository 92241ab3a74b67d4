#include "models/vla/packed_penalty.cuh"

namespace vla::cuda {
namespace {

// M as float64 matrices.
struct Whole {
  static constexpr bool kIsPacked = false;
  const double* penalty;
  __device__ double at(Index head, int i, int j, int d) const {
    return penalty[(head * d + i) * d + j];
  }
};
// M as it is packed.
struct Packed {
  static constexpr bool kIsPacked = true;
  PackedArrays<const float> packed;
  __device__ double at(Index head, int i, int j, int d) const {
    return i == j ? packed.diagonal[head * d + i]
                  : packed.matrix[(head * d + min(i, j)) * d + max(i, j)];
  }
};

// Fills in A, and M unless it is there already. The inverse is formed in the threads' registers, in
// float64 since A amplifies rounding by the condition number of M: by sweeps, in place and without
// pivoting, each of which takes d pivots down to -M^-1. A matrix that is being swept stays
// symmetric, so that its pivot's row is its column too.
template <int width, class Source>
__global__ void __launch_bounds__(kThreads)
    invert(const PackedSizes n, const Source source, const PackedArrays<float> packed, Index token,
           ProblemNote* note) {
  using S = Share<width>;
  const S share;
  const int d = n.width;
  const Index head = blockIdx.x;
  __shared__ double pivots[2][width];  // the row of this pivot, while others still read the last
  double a[S::kPasses][4];
#pragma unroll
  for (int pass = 0; pass < S::kPasses; ++pass)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = share.row(pass), j = share.first_column + e;
      a[pass][e] = i < d && j < d ? source.at(head, i, j, d) : 0;
    }
  bool positive = true;
#pragma unroll
  for (int pivot_pass = 0; pivot_pass < S::kPasses; ++pivot_pass)
#pragma unroll 1
    for (int first = 0; first < S::kRows; first += 4)
#pragma unroll
      for (int pivot_column = 0; pivot_column < 4; ++pivot_column) {
        const int p = pivot_pass * S::kRows + first + pivot_column;
        if (p >= d) break;
        double* row = pivots[pivot_column % 2];
        if (share.row(pivot_pass) == p)
#pragma unroll
          for (int e = 0; e < 4; ++e) row[share.first_column + e] = a[pivot_pass][e];
        __syncthreads();
        const double pivot = row[p], shrink = 1 / pivot;
        positive = positive && pivot > 0 && isfinite(pivot);
        double of_columns[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) of_columns[e] = row[share.first_column + e];
        const bool on_column = share.first_column == p - pivot_column;
#pragma unroll
        for (int pass = 0; pass < S::kPasses; ++pass) {
          const bool on_row = share.row(pass) == p;
          const double factor = row[share.row(pass)] * shrink;
#pragma unroll
          for (int e = 0; e < 4; ++e)
            a[pass][e] = on_row ? of_columns[e] * shrink : a[pass][e] - factor * of_columns[e];
          if (on_column) a[pass][pivot_column] = on_row ? -shrink : factor;
        }
      }
  if (!positive && threadIdx.x == 0)
    PenaltyPlace{note, head / n.heads, head % n.heads}.found(Problem::penalty_not_definite, token);
#pragma unroll
  for (int pass = 0; pass < S::kPasses; ++pass)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = share.row(pass), j = share.first_column + e;
      if (i >= d || j >= d) continue;
      float& place = packed.matrix[(head * d + i) * d + j];
      if (j <= i) place = static_cast<float>(-a[pass][e]);
      if constexpr (!Source::kIsPacked) {
        const auto m = static_cast<float>(source.at(head, i, j, d));
        if (j > i) place = m;
        if (j == i) packed.diagonal[head * d + i] = m;
      }
    }
}

template <class Source>
void launch_invert(const char* op, const PackedSizes& n, const Source& source,
                   const PackedArrays<float>& packed, Index token, Device device) {
  dispatch_share(n.width, [&](auto width) {
    Launch(op, device)(invert<width, Source>, Grid{dim3(static_cast<unsigned>(n.all_heads()))}, n,
                       source, packed, token, problem_note(device));
  });
}

__global__ void unpack_kernel(const PackedSizes n, const Packed packed, double* penalty) {
  const Index rows = n.all_heads() * n.width, d = n.width;
  for (Index i = thread_index(); i < rows * d; i += thread_total()) {
    const Index row = i / d, head = row / d;
    penalty[i] =
        packed.at(head, static_cast<int>(row - head * d), static_cast<int>(i - row * d), n.width);
  }
}

}  // namespace

void pack(const PackedSizes& n, const double* penalty, const PackedArrays<float>& packed,
          Device device) {
  launch_invert("pack", n, Whole{penalty}, packed, 0, device);
}

void unpack(const PackedSizes& n, const PackedArrays<const float>& packed, double* penalty,
            Device device) {
  Launch("unpack", device)(unpack_kernel, grid_for(n.all_heads() * n.width * n.width), n,
                           Packed{packed}, penalty);
}

void renew_inverse(const PackedSizes& n, const PackedArrays<float>& packed, Index token,
                   Device device) {
  launch_invert("renew_inverse", n, Packed{{packed.matrix, packed.diagonal}}, packed, token,
                device);
}

}  // namespace vla::cuda
