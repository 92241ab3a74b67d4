// What a program does with that which a parser took: nothing of it may be out of bounds.
#pragma once

#include <algorithm>

#include "framework/random.hpp"
#include "framework/tensor_bytes.hpp"
#include "tasks/task.hpp"
#include "tests/fuzz/target.hpp"

namespace vla::fuzz {

/// Reads every byte of a tensor.
inline void use(const Tensor& tensor) {
  Index elements = 1;
  for (const Index size : tensor.shape()) elements *= size;
  const auto bytes = readable_bytes(tensor);
  require(elements >= 0 && bytes.size() == tensor.bytes() &&
              tensor.bytes() == static_cast<std::size_t>(elements) * element_bytes(tensor.dtype()),
          "a tensor is not of the size that its shape says");
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
  volatile unsigned seen = sum;
  static_cast<void>(seen);
}

/// Looks at every token of a batch.
inline void use(const Batch& batch, const Task& task) {
  const auto is_token = [&](Index token) { return token >= 0 && token < task.vocabulary(); };
  require(std::ranges::all_of(batch.tokens.values<Index>(), is_token),
          "a token is not in the vocabulary");
  require(std::ranges::all_of(
              batch.targets.values<Index>(),
              [&](Index target) { return is_token(target) || target == kIgnoredTarget; }),
          "a target is not in the vocabulary");
}

/// Draws a batch of both parts. `may_refuse`: the task reads files as late as this.
inline void use(const Task& task, bool may_refuse = false) {
  constexpr Index kBatch = 3;
  Rng rng(1);
  const double chance = task.chance();
  require(chance >= 0 && chance <= 1, "the chance is not a share");
  const auto draw = [&] {
    use(task.sample(kBatch, rng), task);
    use(task.sample_held_out(kBatch, rng), task);
    return true;
  };
  if (may_refuse)
    loaded(draw);
  else
    draw();
}

}  // namespace vla::fuzz
