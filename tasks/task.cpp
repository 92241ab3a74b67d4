#include "tasks/task.hpp"

#include "framework/ops/argmax.hpp"

namespace vla {

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
  const bool rounded = logits.dtype() == DType::bfloat16 && logits.device().is_cpu();
  const Tensor answers = argmax(rounded ? logits.to(DType::float32) : logits).to(Device{});
  const Tensor wanted = targets.to(Device{});
  const std::span<const Index> answer = answers.values<Index>();
  Score result;
  for (std::size_t i = 0; const Index target : wanted.values<Index>()) {
    if (target != kIgnoredTarget) {
      ++result.counted;
      if (answer[i] == target) ++result.right;
    }
    ++i;
  }
  return result;
}

}  // namespace vla
