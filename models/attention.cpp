#include "models/attention.hpp"

#include "framework/distributed/ops.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/shaping.hpp"

namespace vla {

AttentionOptions AttentionOptions::resolved() const {
  check(width >= 1, "attention: width ", width, " is not allowed; 1 or more");
  check(heads >= 1, "attention: ", heads, " heads are not allowed; 1 or more");
  check(key_width >= 0 && value_width >= 0, "attention: head widths ", key_width, " and ",
        value_width, " must not be negative; 0 means width / heads");
  check(convolution >= 0, "attention: convolution of ", convolution, " taps; 0 or more");
  check((key_width > 0 && value_width > 0) || width % heads == 0, "attention: width ", width,
        " is not divisible by ", heads, " heads");
  AttentionOptions result = *this;
  for (Index each : {key_width, value_width}) {
    Index all = 0;
    check(!__builtin_mul_overflow(heads, each, &all), "attention: ", heads, " heads of width ",
          each, " are too many to count");
  }
  if (key_width == 0) result.key_width = width / heads;
  if (value_width == 0) result.value_width = width / heads;
  return result;
}

HeadProjection::HeadProjection(const AttentionOptions& options, Index head_width, Rng& rng)
    : linear(options.width, options.heads * head_width, rng, options.linear()),
      heads(options.heads) {
  if (options.convolution > 0)
    convolution.emplace(heads * head_width, options.convolution, rng, options.dtype);
}

Var HeadProjection::operator()(const Var& x, const Carry& carry) const {
  check(x.value().rank() == 3 && x.size(2) == linear.weight.size(1), "attention: x has shape ",
        x.shape(), "; (B, T, ", linear.weight.size(1), ") is needed");
  Var y = linear(x);
  if (convolution && carry.ranks()) {
    const Index before = convolution->weight.size(1) - 1;
    const Var all = concat({tokens_of_earlier_ranks(y, before, *carry.ranks()), y}, 1);
    y = silu(slice((*convolution)(all), 1, before, all.size(1)));
  } else if (convolution && carry.streams()) {
    const Index before = convolution->weight.size(1) - 1;
    Tensor tail = carry.take("tail", y.shape().with(1, before), y.dtype(), x.device());
    y = silu((*convolution)(y, tail));
    carry.leave("tail", tail);
  } else if (convolution) {
    y = silu((*convolution)(y));
  }
  return reshape(y, {y.size(0), y.size(1), heads, y.size(2) / heads});
}

void HeadProjection::visit(PartVisitor& parts) {
  linear.visit(parts);  // its weight and bias go by this projection's own name
  parts("convolution", convolution);
}

AttentionProjections::AttentionProjections(const AttentionOptions& options, Rng& rng)
    : AttentionProjections(Resolved{options.resolved()}, rng) {}

AttentionProjections::AttentionProjections(const Resolved& resolved, Rng& rng)
    : query(resolved.options, resolved.options.key_width, rng),
      key(resolved.options, resolved.options.key_width, rng),
      value(resolved.options, resolved.options.value_width, rng),
      output(resolved.options.heads * resolved.options.value_width, resolved.options.width, rng,
             resolved.options.linear()) {}

void AttentionProjections::visit(PartVisitor& parts) {
  parts("query", query);
  parts("key", key);
  parts("value", value);
  parts("output", output);
}

Var merge_heads(const Var& x, CallSite site) {
  return reshape(x, {x.size(0), x.size(1), x.size(2) * x.size(3)}, site);
}

Var scale_heads(const Var& vectors, const Var& factors, CallSite site) {
  return mul(vectors, reshape(factors, factors.shape().inserted(-1, 1).sizes()), site);
}

}  // namespace vla
