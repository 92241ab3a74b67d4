// Steps of recursive least squares on CUDA; they are in recursive_least_squares_step.cu. The arrays
// are on the device.
#pragma once

#include "models/vla/packed_penalty_cuda.hpp"
#include "models/vla/recursive_least_squares_cuda.hpp"

namespace vla::cuda {

/// The inputs of steps; Weight is T or float.
template <class T, class Weight>
struct StepInputs {
  LeastSquaresSizes n;
  const T *q, *k, *v;
  const Weight* beta;
};

/// What steps change of a LeastSquaresState, of float or const float. An initial S may be null.
template <class Float>
struct StepState {
  PackedArrays<Float> packed = {};
  Float* memory = nullptr;
};

/// At most kFewTokens tokens, for heads of at most kWidestPacked. `before` may be `after`.
template <class T, class Weight>
void least_squares_steps(const StepInputs<T, Weight>& in, Index first, Index end,
                         const StepState<const float>& before, const StepState<float>& after, T* o,
                         Device device);

}  // namespace vla::cuda
