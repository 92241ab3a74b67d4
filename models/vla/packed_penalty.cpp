#include "models/vla/packed_penalty.hpp"

#include <algorithm>

#include "models/vla/packed_penalty_cuda.hpp"

namespace vla {
namespace {

cuda::PackedSizes sizes_of(const Tensor& matrices) {
  return {matrices.size(0), matrices.size(1), static_cast<int>(matrices.size(2))};
}

void unpack_on_cpu(const PackedPenalty& packed, double* whole) {
  const Index d = packed.matrix.size(2), rows = packed.diagonal.elements();
  const double* penalty = packed.penalty.data<double>();
  const float *gained = packed.matrix.data<float>(), *diagonal = packed.diagonal.data<float>();
  for (Index row = 0; row < rows; ++row) {
    const Index i = row % d, head = (row - i) * d;
    for (Index j = 0; j < d; ++j)
      whole[row * d + j] =
          penalty[row * d + j] +
          (i == j ? diagonal[row] : gained[head + std::min(i, j) * d + std::max(i, j)]);
  }
}

}  // namespace

PackedPenalty pack(const Tensor& penalty) {
  check(penalty.rank() == 4 && penalty.size(2) == penalty.size(3) &&
            penalty.size(3) <= kWidestPacked && penalty.dtype() == DType::float64,
        "pack: the penalty is ", penalty.dtype(), " ", penalty.shape(),
        "; float64 (B, H, d, d) with d up to ", kWidestPacked, " is needed");
  const Device device = penalty.device();
  PackedPenalty packed{penalty, Tensor(penalty.shape(), DType::float32, device),
                       Tensor(penalty.shape().without(3), DType::float32, device)};
  on_device(
      "pack", device, [] { fail("pack: the penalty is on the CPU; CUDA is needed"); },
      [&] {
        cuda::pack(sizes_of(penalty), penalty.data<double>(),
                   {packed.matrix.mutable_data<float>(), packed.diagonal.mutable_data<float>()},
                   device);
      });
  return packed;
}

Tensor unpack(const PackedPenalty& packed) {
  Tensor whole = empty_like(packed.penalty);
  double* into = whole.mutable_data<double>();
  on_device(
      "unpack", whole.device(), [&] { unpack_on_cpu(packed, into); },
      [&] {
        cuda::unpack(sizes_of(whole), packed.penalty.data<double>(),
                     {packed.matrix.data<float>(), packed.diagonal.data<float>()}, into,
                     whole.device());
      });
  return whole;
}

}  // namespace vla
