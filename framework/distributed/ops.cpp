#include "framework/distributed/ops.hpp"

#include <algorithm>

#include "framework/ops/shaping.hpp"

namespace vla {
namespace {

// The part of x along time, and parts one after the other.
Tensor tokens(const Tensor& x, Index begin, Index end) {
  return slice(Var(x), 1, begin, end).value();
}
Tensor joined(const Tensor& a, const Tensor& b) { return concat({Var(a), Var(b)}, 1).value(); }

Tensor earlier_tokens(const Tensor& x, Index count, const Communicator& ranks) {
  const PauseRecording by_hand;
  const Index time = x.size(1);
  const int next = ranks.rank() + 1;
  const bool has_next = next < ranks.size();
  Tensor before = Tensor::zeros(x.shape().with(1, count), x.dtype(), x.device());
  // A part that is long enough need not wait for what comes before it.
  if (has_next && time >= count) ranks.send(tokens(x, time - count, time), next);
  if (ranks.rank() > 0) ranks.receive(before, ranks.rank() - 1);
  if (has_next && time < count) ranks.send(joined(tokens(before, time, count), x), next);
  return before;
}

// The gradient of x, given that of what was before it.
Tensor earlier_tokens_gradient(const Tensor& upstream, const Shape& shape,
                               const Communicator& ranks) {
  const Index count = upstream.size(1), time = shape[1], own = std::min(count, time);
  const int next = ranks.rank() + 1;
  // Of what went to the next rank: the last tokens of those before, then of x.
  Tensor sent = zeros_like(upstream);
  if (next < ranks.size()) ranks.receive(sent, next);
  if (ranks.rank() > 0) {
    Tensor before = upstream.clone();
    before.accumulate(
        joined(Tensor::zeros(upstream.shape().with(1, own), upstream.dtype(), upstream.device()),
               tokens(sent, 0, count - own)));
    ranks.send(before, ranks.rank() - 1);
  }
  return joined(Tensor::zeros(shape.with(1, time - own), upstream.dtype(), upstream.device()),
                tokens(sent, count - own, count));
}

}  // namespace

Var sum_of_earlier_ranks(const Var& x, const Communicator& ranks, CallSite site) {
  Tensor before = x.value().clone();
  ranks.exclusive_sum(before);
  return record(
      "sum_of_earlier_ranks", before, {x}, {},
      [ranks](const BackwardContext& at) -> std::vector<Tensor> {
        Tensor later = at.gradient().clone();
        ranks.reversed().exclusive_sum(later);
        return {later};
      },
      site);
}

Var tokens_of_earlier_ranks(const Var& x, Index count, const Communicator& ranks, CallSite site) {
  check(x.shape().rank() == 3, "tokens_of_earlier_ranks: x has shape ", x.shape(),
        "; (B, T, D) is needed");
  check(count >= 0, "tokens_of_earlier_ranks: ", count, " tokens; 0 or more are needed");
  const Tensor before = earlier_tokens(x.value(), count, ranks);
  return record(
      "tokens_of_earlier_ranks", before, {x}, {},
      [ranks, shape = x.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        return {earlier_tokens_gradient(at.gradient(), shape, ranks)};
      },
      site);
}

}  // namespace vla
