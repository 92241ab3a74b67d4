// The kernels of optimizer.cpp on CUDA; they are in optimizer.cu. Each goes over many tensors in a
// few launches.
#pragma once

#include <vector>

#include "framework/optim/optimizer.hpp"

namespace vla::cuda {

/// A parameter with its gradient and the optimiser's own tensors, all of one type and size.
struct Moved {
  Tensor parameter, gradient, first, second;  // first: velocity or first moment; may be undefined
};

/// norm (float64, one element) = the Euclidean norm over all of them together.
void global_norm(const std::vector<Tensor>& gradients, Tensor& norm);
/// numbers[0] = the factor of the gradients that `options` ask for, or NaN if nothing is to move
/// because the norm, or the loss if it is defined, is not finite: then with a note of the problem,
/// or with one more in `skipped`.
void guard(const Tensor& norm, const Tensor& loss, const Optimizer::StepOptions& options,
           Tensor& skipped, Tensor& numbers);

/// See SgdConstants and AdamConstants in optimizer_rules.hpp, whose numbers stand in `numbers`
/// (float64) in their order, the factor of the gradient first.
void sgd(std::vector<Moved> moved, const Tensor& numbers);
void adam(std::vector<Moved> moved, const Tensor& numbers);

}  // namespace vla::cuda
