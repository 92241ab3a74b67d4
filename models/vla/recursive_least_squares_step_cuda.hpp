// Steps of recursive least squares on CUDA; they are in recursive_least_squares_step.cu. The arrays
// are on the device.
#pragma once

#include "models/vla/packed_penalty_cuda.hpp"
#include "models/vla/recursive_least_squares_cuda.hpp"

namespace vla::cuda {

/// The inputs of steps; Weight is T or float. Only the start of a sequence needs lambda0.
template <class T, class Weight>
struct StepInputs {
  LeastSquaresSizes n;
  const T *q, *k, *v;
  const Weight* beta;
  const float* lambda0;
};

/// LeastSquaresState, of float or const float; null at the start of a sequence.
template <class Float>
struct StepState {
  PackedArrays<Float> packed = {};
  Float* memory = nullptr;
};

/// Any number of tokens, a few at a time, for heads of at most kWidestPacked.
template <class T, class Weight>
void least_squares_steps(const StepInputs<T, Weight>& in, const StepState<const float>& before,
                         const StepState<float>& after, Index tokens_before, T* o, Device device);

}  // namespace vla::cuda
