#include <array>

#include "framework/cuda/kernel.cuh"
#include "framework/optim/optimizer_cuda.hpp"
#include "framework/optim/optimizer_rules.hpp"

namespace vla::cuda {
namespace {

constexpr int kTensorsPerLaunch = 64;  // their places fit into a kernel's parameters
constexpr Index kElementsPerBlock = 4096;

// Tensors of one launch, each cut into blocks.
template <class T>
struct Batch {
  int tensors = 0;
  int first_block[kTensorsPerLaunch + 1] = {0};
  Index elements[kTensorsPerLaunch];
  T *parameter[kTensorsPerLaunch], *first[kTensorsPerLaunch], *second[kTensorsPerLaunch];
  const T* gradient[kTensorsPerLaunch];

  int blocks() const { return first_block[tensors]; }
  void add(const Moved& moved) {
    Moved one = moved;
    elements[tensors] = one.gradient.elements();
    parameter[tensors] = mutable_data_or_null<T>(one.parameter);
    gradient[tensors] = one.gradient.data<T>();
    first[tensors] = mutable_data_or_null<T>(one.first);
    second[tensors] = mutable_data_or_null<T>(one.second);
    const Index count = (elements[tensors] + kElementsPerBlock - 1) / kElementsPerBlock;
    first_block[tensors + 1] = first_block[tensors] + static_cast<int>(count);
    ++tensors;
  }
};

// Calls launch(batch) for as many batches as it takes; the tensors are of one device and type.
template <class T, class Launcher>
void in_batches(const std::vector<Moved>& all, Launcher launch) {
  for (std::size_t begin = 0; begin < all.size(); begin += kTensorsPerLaunch) {
    Batch<T> batch;
    for (std::size_t i = begin; i < std::min(all.size(), begin + kTensorsPerLaunch); ++i)
      batch.add(all[i]);
    launch(batch);
  }
}

// The tensor that this block is for, and its part of it.
struct Part {
  int tensor;
  Index begin, end;
};

template <class T>
__device__ Part part_of_block(const Batch<T>& batch) {
  const int block = static_cast<int>(blockIdx.x);
  int tensor = 0;
  while (batch.first_block[tensor + 1] <= block) ++tensor;
  const Index begin = Index(block - batch.first_block[tensor]) * kElementsPerBlock;
  return {tensor, begin, min(batch.elements[tensor], begin + kElementsPerBlock)};
}

template <class T>
__global__ void sum_of_squares_kernel(Batch<T> batch, double* sums) {
  const Part part = part_of_block(batch);
  const T* gradient = batch.gradient[part.tensor];
  double sum = 0;
  for (Index i = part.begin + threadIdx.x; i < part.end; i += kThreads)
    sum += double(gradient[i]) * double(gradient[i]);
  sum = sum_of_team<kThreads>(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void norm_kernel(const double* sums, Index count, double* norm) {
  double sum = 0;
  for (Index i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  sum = sum_of_team<kThreads>(sum);
  if (threadIdx.x == 0) *norm = sqrt(sum);
}

// What is asked for when a step is not finite, as in Optimizer::guard. `loss` may be nullptr.
template <class T>
__global__ void guard_kernel(const double* norm, const T* loss, double clip, NonFinite non_finite,
                             double* skipped, double* factor, ProblemNote* note) {
  const bool finite = isfinite(*norm) && (!loss || isfinite(double(*loss)));
  if (finite) {
    if (clip > 0) *factor = fmin(1.0, clip / (*norm + 1e-6));
  } else if (non_finite != NonFinite::ignore) {
    *factor = nan("");
    if (non_finite == NonFinite::skip)
      *skipped += 1;
    else if (!isfinite(*norm))
      report(note, {.problem = Problem::gradient_norm, .number = *norm});
    else
      report(note, {.problem = Problem::loss, .number = double(*loss)});
  }
}

template <class T>
__global__ void sgd_kernel(Batch<T> batch, const double* numbers) {
  const SgdConstants<T> constants(numbers);
  if (isnan(numbers[0])) return;
  const Part part = part_of_block(batch);
  T *p = batch.parameter[part.tensor], *v = batch.first[part.tensor];
  const T* gradient = batch.gradient[part.tensor];
  for (Index i = part.begin + threadIdx.x; i < part.end; i += kThreads) {
    if (v)
      momentum_rule(constants, gradient[i], p[i], v[i]);
    else
      sgd_rule(constants, gradient[i], p[i]);
  }
}

template <class T>
__global__ void adam_kernel(Batch<T> batch, const double* numbers) {
  const AdamConstants<T> constants(numbers);
  if (isnan(numbers[0])) return;
  const Part part = part_of_block(batch);
  T *p = batch.parameter[part.tensor], *m = batch.first[part.tensor],
    *v = batch.second[part.tensor];
  const T* gradient = batch.gradient[part.tensor];
  for (Index i = part.begin + threadIdx.x; i < part.end; i += kThreads)
    adam_rule(constants, gradient[i], p[i], m[i], v[i]);
}

// Those of one element type; the types come one after the other.
template <class Each>
void for_each_dtype(const std::vector<Moved>& moved, Each each) {
  for (DType dtype : {DType::float32, DType::float64}) {
    std::vector<Moved> of_type;
    for (const Moved& one : moved)
      if (one.gradient.dtype() == dtype) of_type.push_back(one);
    if (!of_type.empty()) each(dtype, of_type);
  }
}

template <class Kernel>
void move(const char* op, const std::vector<Moved>& moved, const Tensor& numbers, Kernel kernel) {
  for_each_dtype(moved, [&](DType dtype, const std::vector<Moved>& of_type) {
    dispatch_floating(dtype, op, [&](auto zero) {
      using T = decltype(zero);
      in_batches<T>(of_type, [&](const Batch<T>& batch) {
        Launch(op, numbers.device())(kernel(zero), {dim3(static_cast<unsigned>(batch.blocks()))},
                                     batch, numbers.data<double>());
      });
    });
  });
}

}  // namespace

void global_norm(const std::vector<Tensor>& gradients, Tensor& norm) {
  std::vector<Moved> all;
  Index blocks = 0;
  for (const Tensor& gradient : gradients) {
    all.push_back({{}, gradient, {}, {}});
    blocks += (gradient.elements() + kElementsPerBlock - 1) / kElementsPerBlock;
  }
  Tensor sums({blocks}, DType::float64, norm.device());
  double* next = sums.mutable_data<double>();
  for_each_dtype(all, [&](DType dtype, const std::vector<Moved>& of_type) {
    dispatch_floating(dtype, "global_norm", [&](auto zero) {
      using T = decltype(zero);
      in_batches<T>(of_type, [&](const Batch<T>& batch) {
        Launch("global_norm", norm.device())(
            sum_of_squares_kernel<T>, {dim3(static_cast<unsigned>(batch.blocks()))}, batch, next);
        next += batch.blocks();
      });
    });
  });
  Launch("global_norm", norm.device())(norm_kernel, {dim3(1)}, sums.data<double>(), blocks,
                                       norm.mutable_data<double>());
}

void guard(const Tensor& norm, const Tensor& loss, const Optimizer::StepOptions& options,
           Tensor& skipped, Tensor& numbers) {
  dispatch_floating(loss.defined() ? loss.dtype() : DType::float64, "optimizer", [&](auto zero) {
    using T = decltype(zero);
    Launch("optimizer", norm.device())(guard_kernel<T>, {dim3(1), dim3(1)}, norm.data<double>(),
                                       loss.defined() ? loss.data<T>() : nullptr, options.clip,
                                       options.non_finite, skipped.mutable_data<double>(),
                                       numbers.mutable_data<double>(), problem_note(norm.device()));
  });
}

void sgd(std::vector<Moved> moved, const Tensor& numbers) {
  move("sgd", moved, numbers, [](auto zero) { return sgd_kernel<decltype(zero)>; });
}

void adam(std::vector<Moved> moved, const Tensor& numbers) {
  move("adam", moved, numbers, [](auto zero) { return adam_kernel<decltype(zero)>; });
}

}  // namespace vla::cuda
