// The packed penalty on CUDA; it is in packed_penalty.cu. The arrays are on the device.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

struct PackedSizes {
  Index batch, heads;
  int width;
  VLA_HOST_DEVICE Index all_heads() const { return batch * heads; }
};

/// PackedPenalty, of float or const float.
template <class Float>
struct PackedArrays {
  Float *matrix = nullptr, *diagonal = nullptr;
};

void pack(const PackedSizes& n, const double* penalty, const PackedArrays<float>& packed,
          Device device);
void unpack(const PackedSizes& n, const PackedArrays<const float>& packed, double* penalty,
            Device device);
/// A from M, in place. `token` of the block is named where M is not positive definite.
void renew_inverse(const PackedSizes& n, const PackedArrays<float>& packed, Index token,
                   Device device);

}  // namespace vla::cuda
