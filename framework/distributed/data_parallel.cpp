#include "framework/distributed/data_parallel.hpp"

#include <algorithm>
#include <limits>

#include "framework/cuda/runtime.hpp"
#include "framework/diverged.hpp"

namespace vla {
namespace {

// Between a tensor, wherever it is, and a part of a bucket.
void pack(const Tensor& tensor, Index offset, Tensor& numbers) {
  const Tensor host = tensor.to(Device{});
  dispatch_floating(host.dtype(), "data parallel", [&](auto zero) {
    std::ranges::copy(host.values<decltype(zero)>(),
                      numbers.mutable_data<decltype(zero)>() + offset);
  });
}
Tensor unpacked(const Tensor& like, const Tensor& numbers, Index offset) {
  Tensor host(like.shape(), like.dtype());
  dispatch_floating(like.dtype(), "data parallel", [&](auto zero) {
    std::copy_n(numbers.data<decltype(zero)>() + offset, host.elements(),
                host.mutable_data<decltype(zero)>());
  });
  return host.to(like.device());
}

}  // namespace

DataParallel::DataParallel(const Communicator& ranks, std::vector<Parameter> parameters,
                           DataParallelOptions options)
    : ranks_(ranks.separate()), parameters_(std::move(parameters)), options_(options) {
  for (auto& [name, variable] : parameters_) {
    check(variable.dtype() == DType::float32 || variable.dtype() == DType::float64,
          "data parallel: '", name, "' is ", variable.dtype(), "; float32 or float64 is needed");
    if (ranks_.size() > 1) ranks_.broadcast(variable.mutable_value());
  }
  make_buckets();
}

// Backward comes upon the last parameters first.
void DataParallel::make_buckets() {
  if (ranks_.size() == 1) return;
  std::size_t bytes = 0;
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    const Tensor& value = parameters_[i].variable.value();
    const bool fits = !buckets_.empty() && buckets_.back().numbers.dtype() == value.dtype() &&
                      bytes + value.bytes() <= options_.bucket_bytes;
    if (!fits) {
      buckets_.push_back({.numbers = Tensor({0}, value.dtype())});
      bytes = 0;
    }
    bytes += value.bytes();
    places_[parameters_[i].variable.identity()] = {buckets_.size() - 1,
                                                   buckets_.back().members.size()};
    buckets_.back().members.push_back(i);
  }
  for (Bucket& bucket : buckets_) {
    Index count = 0;
    for (std::size_t member : bucket.members) {
      bucket.offsets.push_back(count);
      count += parameters_[member].variable.value().elements();
    }
    bucket.offsets.push_back(count);
    count += static_cast<Index>(bucket.members.size());
    bucket.numbers = Tensor({count}, bucket.numbers.dtype());
  }
}

DataParallel::Mean DataParallel::mean(const Var& loss, double targets) const {
  const double own = loss.value().item();
  if (ranks_.size() == 1) return {own, 1};
  Tensor sums = Tensor::from<double>({2}, {targets == 0 ? 0 : own * targets, targets});
  ranks_.sum(sums);
  const double total = sums.at<double>({1});
  return total == 0 ? Mean{sums.at<double>({0}), 0}
                    : Mean{sums.at<double>({0}) / total, targets / total};
}

void DataParallel::prepare() {
  begun_ = 0;
  for (Bucket& bucket : buckets_) {
    bucket.numbers.fill(0);
    bucket.missing = bucket.members.size();
  }
}

void DataParallel::take(const Var& parameter, const Tensor& gradient) {
  const auto found = places_.find(parameter.identity());
  if (found == places_.end()) return;
  const auto [place, member] = found->second;
  Bucket& bucket = buckets_[place];
  pack(gradient, bucket.offsets[member], bucket.numbers);
  pack(Tensor::full({1}, 1, bucket.numbers.dtype()),
       bucket.offsets.back() + static_cast<Index>(member), bucket.numbers);
  --bucket.missing;
  if (!options_.overlap) return;
  begin_full();
  progress();
}

// In order, since ranks must begin the same message at the same place.
void DataParallel::begin_full() {
  for (; begun_ < buckets_.size() && buckets_[begun_].missing == 0; ++begun_)
    buckets_[begun_].pending = ranks_.begin_sum(buckets_[begun_].numbers);
}

void DataParallel::progress() {
  for (std::size_t i = 0; i < begun_; ++i) buckets_[i].pending.progress();
}

Gradients DataParallel::backward(Tape& tape, const Var& loss, double share) {
  if (ranks_.size() == 1) return tape.backward(loss);
  check(!apart_, "data parallel: an earlier backward failed and left the ranks apart; end the job");
  try {
    prepare();
    const Gradients own = backward_alone(tape, loss, share);
    begin_full();
    for (Bucket& bucket : buckets_) bucket.pending.finish();
    return unpack(own);
  } catch (...) {
    apart_ = true;
    for (Bucket& bucket : buckets_) bucket.pending.abandon();
    throw;
  }
}

// Puts what this rank adds to the sums into the buckets.
Gradients DataParallel::backward_alone(Tape& tape, const Var& loss, double share) {
  Gradients own;
  tape.on_final_gradient(
      [this](const Var& parameter, const Tensor& gradient) { take(parameter, gradient); });
  try {
    own = tape.backward(loss, Tensor::full(loss.shape(), share, loss.dtype(), loss.device()));
    // A GPU tells late what a kernel found: here at the latest, where it can still be NaN for all.
    if constexpr (kCudaBuild)
      if (!loss.device().is_cpu()) cuda::synchronize(loss.device());
  } catch (const Diverged& error) {
    if (!options_.nan_for_diverged) throw;
    if (begun_ == buckets_.size())
      fail("data parallel: the others have the gradients of a step that diverged here: ",
           error.what());
    for (std::size_t i = begun_; i < buckets_.size(); ++i)
      buckets_[i].numbers.fill(std::numeric_limits<double>::quiet_NaN());
  }
  for (Bucket& bucket : buckets_) bucket.missing = 0;  // there will be no others
  return own;
}

Gradients DataParallel::unpack(const Gradients& own) {
  Gradients result;
  for (const auto& [variable, gradient] : own)
    if (!places_.contains(variable.identity())) result.add(variable, gradient);
  for (const Bucket& bucket : buckets_)
    for (std::size_t i = 0; i < bucket.members.size(); ++i) {
      const Tensor& value = parameters_[bucket.members[i]].variable.value();
      const Tensor present = unpacked(Tensor({1}, bucket.numbers.dtype()), bucket.numbers,
                                      bucket.offsets.back() + static_cast<Index>(i));
      if (present.item() != 0)  // NaN where a rank diverged
        result.add(parameters_[bucket.members[i]].variable,
                   unpacked(value, bucket.numbers, bucket.offsets[i]));
    }
  return result;
}

}  // namespace vla
