// The kernels of softmax.cpp on CUDA; they are in softmax.cu.
#pragma once

#include "framework/ops/rows.hpp"
#include "framework/tensor.hpp"

namespace vla::cuda {

/// y = softmax(x) row by row, and dx from dy and y.
void softmax(const Tensor& x, Rows rows, Tensor& y);
void softmax_gradient(const Tensor& dy, const Tensor& y, Rows rows, Tensor& dx);

/// y = log(softmax(x)) row by row, and dx from dy and y.
void log_softmax(const Tensor& x, Rows rows, Tensor& y);
void log_softmax_gradient(const Tensor& dy, const Tensor& y, Rows rows, Tensor& dx);

/// What cross entropy adds up, and how.
struct CrossEntropyRows {
  Rows rows;
  Index ignore_index;
  double label_smoothing;
};

/// loss, a scalar: the mean over the rows that count, 0 if there are none. `totals` (rows, 2), of
/// the type that logits are computed in, receives the parts of log(sum exp(x)) of each row that
/// counts, `count` (float64, a scalar) the number of such rows. A target out of range is
/// reported to the device's note and does not count.
void cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyRows& how,
                   Tensor& totals, Tensor& count, Tensor& loss);
/// dx from dy, a scalar of the loss's type.
void cross_entropy_gradient(const Tensor& dy, const Tensor& logits, const Tensor& targets,
                            const CrossEntropyRows& how, const Tensor& totals, const Tensor& count,
                            Tensor& dx);

}  // namespace vla::cuda
