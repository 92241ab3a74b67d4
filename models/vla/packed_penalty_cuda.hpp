// The packed penalty on CUDA; it is in packed_penalty.cu. The arrays are on the device.
#pragma once

#include "framework/tensor.hpp"

namespace vla::cuda {

struct PackedSizes {
  Index batch, heads;
  int width;
  VLA_HOST_DEVICE Index all_heads() const { return batch * heads; }
};

/// The float32 parts of PackedPenalty, of float or const float.
template <class Float>
struct PackedArrays {
  Float *matrix = nullptr, *diagonal = nullptr;
};

/// M <- lambda0 I, with lambda0 (H) on the device.
void start_penalty(const PackedSizes& n, const float* lambda0, double* penalty, Device device);
void pack(const PackedSizes& n, const double* penalty, const PackedArrays<float>& packed,
          Device device);
void unpack(const PackedSizes& n, const double* penalty, const PackedArrays<const float>& packed,
            double* whole, Device device);
/// The same penalty with A formed anew: all that M is goes to `renewed`. `token` of the block is
/// named where M is not positive definite.
void renew(const PackedSizes& n, const double* penalty, const PackedArrays<float>& packed,
           double* renewed, Index token, Device device);

}  // namespace vla::cuda
