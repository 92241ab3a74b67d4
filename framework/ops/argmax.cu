#include "framework/cuda/rows.cuh"
#include "framework/ops/argmax_cuda.hpp"

namespace vla::cuda {
namespace {

// Each thread goes through its part in ascending order and so keeps the first of equals.
template <class Plan, class T>
__global__ void argmax_kernel(const T* x, Rows rows, Index* places) {
  using A = Accumulated<T>;
  if (Plan::row() >= rows.count) return;
  const RowPieces<Plan, T> in(x + Plan::row() * rows.width, rows.width);
  A largest = -std::numeric_limits<A>::infinity();
  Index place = -1;
  each_value<Plan>(
      rows.width,
      [&](Index i, A value) {
        if (!(value > largest)) return;
        largest = value;
        place = i;
      },
      in);
  const bool has_largest = largest == max_of_team<Plan::kTeam>(largest) && place >= 0;
  const Index before = max_of_team<Plan::kTeam>(has_largest ? -place : -rows.width);
  if (Plan::lane() == 0) places[Plan::row()] = before == -rows.width ? -1 : -before;
}

}  // namespace

void argmax(const Tensor& x, Rows rows, Tensor& places) {
  dispatch_rows(x.dtype(), "argmax", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using Plan = decltype(plan);
    Launch("argmax", x.device())(argmax_kernel<Plan, T>, Plan::grid(rows.count), x.data<T>(), rows,
                                 places.mutable_data<Index>());
  });
}

}  // namespace vla::cuda
