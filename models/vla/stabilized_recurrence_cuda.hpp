// The step form of the stabilised recurrence on CUDA; it is in stabilized_recurrence.cu.
#pragma once

#include "models/vla/stabilized_step.hpp"

namespace vla::cuda {

/// Writes the output, what backward starts its segments from, and the result's A, S and count: a
/// block of threads for each sequence and head.
void stabilized_by_step(const StabilizedSizes& n, const StabilizedOptions& options,
                        const StabilizedInputs& in, Tensor& output, StabilizedCheckpoints& saved,
                        StabilizedResult& result);

/// All gradients from that of the output. They start at 0.
void stabilized_adjoint_by_step(const StabilizedSizes& n, const StabilizedOptions& options,
                                const StabilizedTensors& in, const StabilizedCheckpoints& saved,
                                const Tensor& output_gradient, StabilizedTensors& gradients);

}  // namespace vla::cuda
