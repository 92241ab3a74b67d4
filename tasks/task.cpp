#include "tasks/task.hpp"

#include <limits>

namespace vla {
namespace {

// Index of the largest value; -1 if none exceeds -infinity.
template <class T>
Index largest(const T* values, Index count) {
  Index best = -1;
  T highest = -std::numeric_limits<T>::infinity();
  for (Index i = 0; i < count; ++i) {
    if (values[i] > highest) {
      highest = values[i];
      best = i;
    }
  }
  return best;
}

}  // namespace

void check_task_setting(std::string_view task, std::string_view setting, Index value, Index least,
                        Index most) {
  check(value >= least && value <= most, task, ": ", setting, " ", value, " is not allowed; ",
        least, " to ", most);
}

void check_held_out(std::string_view task, std::string_view held_out) {
  check(held_out == "val" || held_out == "test", task, ": held-out '", held_out,
        "' is not allowed; val or test");
}

Batch write_batch(std::string_view task, Index size, Index length, const ExampleWriter& write) {
  check(size >= 0, task, ": a batch of ", size, " examples is not allowed; 0 or more");
  Batch batch{Tensor::zeros({size, length}, DType::int64),
              Tensor::full({size, length}, kIgnoredTarget, DType::int64)};
  const std::span<Index> tokens = batch.tokens.mutable_values<Index>();
  const std::span<Index> targets = batch.targets.mutable_values<Index>();
  const auto row = static_cast<std::size_t>(length);
  for (std::size_t start = 0; start < tokens.size(); start += row)
    write(tokens.subspan(start, row), targets.subspan(start, row));
  return batch;
}

double Score::accuracy() const {
  return counted == 0 ? 0 : static_cast<double>(right) / static_cast<double>(counted);
}

Score& Score::operator+=(const Score& other) {
  right += other.right;
  counted += other.counted;
  return *this;
}

Score score(const Tensor& logits, const Tensor& targets) {
  check(logits.rank() >= 1 && logits.shape().without(-1) == targets.shape(),
        "score: logits of shape ", logits.shape(), " do not fit targets of shape ", targets.shape(),
        "; expected one more axis, the vocabulary");
  Tensor answers = logits.to(Device{});
  if (answers.dtype() == DType::bfloat16) answers = answers.to(DType::float32);
  const Tensor wanted = targets.to(Device{});
  const Index vocabulary = logits.size(-1);
  Score result;
  dispatch_floating(answers.dtype(), "score", [&](auto zero) {
    const auto* row = answers.data<decltype(zero)>();
    for (Index target : wanted.values<Index>()) {
      if (target != kIgnoredTarget) {
        ++result.counted;
        if (largest(row, vocabulary) == target) ++result.right;
      }
      row += vocabulary;
    }
  });
  return result;
}

}  // namespace vla
