// Softmax over the last axis, and the losses built on it.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// exp(x_i) / sum_j exp(x_j) along the last axis. -infinity gives 0; a row of nothing but
/// -infinity gives zeros.
Var softmax(const Var& x, CallSite site = CallSite::here());
/// log(softmax(x)), computed without forming small probabilities.
Var log_softmax(const Var& x, CallSite site = CallSite::here());

/// Which targets count, and how they are spread.
struct CrossEntropyOptions {
  Index ignore_index = -100;   ///< targets of this value count neither in the loss nor in the mean
  double label_smoothing = 0;  ///< share of the target mass spread evenly over all classes, 0 to 1
};

/// Mean negative log-likelihood of `targets` (int64, shape S) under logits (S, classes): a scalar.
/// 0 when every target is ignored. Throws Error for a target outside 0 .. classes-1; on CUDA when
/// a value is next read, and the target counts no more than an ignored one. The loss of bfloat16
/// logits is float32. Label smoothing after Szegedy et al., "Rethinking the inception
/// architecture", 2016.
Var cross_entropy(const Var& logits, const Tensor& targets, CrossEntropyOptions options = {},
                  CallSite site = CallSite::here());

}  // namespace vla
