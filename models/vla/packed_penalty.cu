#include "models/vla/packed_penalty.cuh"

namespace vla::cuda {
namespace {

// What M has gained, at (i, j).
__device__ float gained(const PackedArrays<const float>& packed, Index head, int i, int j, int d) {
  return i == j ? packed.diagonal[head * d + i]
                : packed.matrix[(head * d + min(i, j)) * d + max(i, j)];
}

// Fills in A, and begins with nothing gained; what was gained before is added to M in `renewed`,
// unless that is null. The inverse is formed in the threads' registers, in float64 since A
// amplifies rounding by the condition number of M: by sweeps, in place and without pivoting, which
// take M to -M^-1 in d pivots. A matrix that is being swept stays symmetric, so that its pivot's
// row is its column too.
template <int width>
__global__ void __launch_bounds__(kThreads)
    invert(const PackedSizes n, const double* penalty, const PackedArrays<float> packed,
           double* renewed, Index token, ProblemNote* note) {
  using S = Share<width>;
  const S share;
  const int d = n.width;
  const Index head = blockIdx.x, area = head * d * d;
  __shared__ double pivots[2][width];  // the row of this pivot, while others still read the last
  double a[S::kPasses][4];
#pragma unroll
  for (int pass = 0; pass < S::kPasses; ++pass)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = share.row(pass), j = share.first_column + e;
      a[pass][e] = 0;
      if (i >= d || j >= d) continue;
      a[pass][e] = penalty[area + i * d + j];
      if (renewed) {
        a[pass][e] += gained({packed.matrix, packed.diagonal}, head, i, j, d);
        renewed[area + i * d + j] = a[pass][e];
      }
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
      packed.matrix[area + i * d + j] = j <= i ? static_cast<float>(-a[pass][e]) : 0;
      if (i == j) packed.diagonal[head * d + i] = 0;
    }
}

void launch_invert(const char* op, const PackedSizes& n, const double* penalty,
                   const PackedArrays<float>& packed, double* renewed, Index token, Device device) {
  dispatch_share(n.width, [&](auto width) {
    Launch(op, device)(invert<width>, Grid{dim3(static_cast<unsigned>(n.all_heads()))}, n, penalty,
                       packed, renewed, token, problem_note(device));
  });
}

// Calls work(element, head, i, j) for every element of all matrices.
template <class Work>
__device__ void for_all_elements(const PackedSizes& n, Work work) {
  const Index d = n.width;
  for (Index at = thread_index(); at < n.all_heads() * d * d; at += thread_total()) {
    const Index row = at / d, head = row / d;
    work(at, head, static_cast<int>(row - head * d), static_cast<int>(at - row * d));
  }
}

__global__ void start_kernel(const PackedSizes n, const float* lambda0, double* penalty,
                             ProblemNote* note) {
  for_all_elements(n, [&](Index at, Index head, int i, int j) {
    const float start = lambda0[head % n.heads];
    if (i == 0 && j == 0) PenaltyPlace{note, head / n.heads, head % n.heads}.check_lambda0(start);
    penalty[at] = i == j ? start : 0;
  });
}

__global__ void unpack_kernel(const PackedSizes n, const double* penalty,
                              const PackedArrays<const float> packed, double* whole) {
  for_all_elements(n, [&](Index at, Index head, int i, int j) {
    whole[at] = penalty[at] + gained(packed, head, i, j, n.width);
  });
}

}  // namespace

void start_penalty(const PackedSizes& n, const float* lambda0, double* penalty, Device device) {
  Launch("start_penalty", device)(start_kernel, grid_for(n.all_heads() * n.width * n.width), n,
                                  lambda0, penalty, problem_note(device));
}

void pack(const PackedSizes& n, const double* penalty, const PackedArrays<float>& packed,
          Device device) {
  launch_invert("pack", n, penalty, packed, nullptr, 0, device);
}

void unpack(const PackedSizes& n, const double* penalty, const PackedArrays<const float>& packed,
            double* whole, Device device) {
  Launch("unpack", device)(unpack_kernel, grid_for(n.all_heads() * n.width * n.width), n, penalty,
                           packed, whole);
}

void renew(const PackedSizes& n, const double* penalty, const PackedArrays<float>& packed,
           double* renewed, Index token, Device device) {
  launch_invert("renew penalty", n, penalty, packed, renewed, token, device);
}

}  // namespace vla::cuda
