// The framework in one header.
#pragma once

#include "framework/anomaly.hpp"
#include "framework/check.hpp"
#include "framework/checkpoint.hpp"
#include "framework/cuda/graph.hpp"
#include "framework/device.hpp"
#include "framework/gradcheck.hpp"
#include "framework/gradient_report.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/module.hpp"
#include "framework/npy.hpp"
#include "framework/npz.hpp"
#include "framework/op_observer.hpp"
#include "framework/ops/argmax.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/convolution.hpp"
#include "framework/ops/dropout.hpp"
#include "framework/ops/elementwise.hpp"
#include "framework/ops/embedding.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/optim/schedule.hpp"
#include "framework/parallel.hpp"
#include "framework/profiler.hpp"
#include "framework/random.hpp"
#include "framework/recompute.hpp"
#include "framework/safetensors.hpp"
#include "framework/statistics.hpp"
#include "framework/storage.hpp"
#include "framework/tape.hpp"
#include "framework/tape_picture.hpp"
#include "framework/tensor.hpp"

/// All of it: the framework, the models on it, and the tasks that they are trained on. Every op
/// throws Error, one line that begins with the op's name, for inputs of different element types or
/// devices, for integers where it computes, and for shapes that do not fit; its own docstring says
/// what else.
namespace vla {

/// What kernels are written with, and what runs them.
namespace cuda {}

}  // namespace vla
