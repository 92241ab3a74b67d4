#include "models/vla/sequence_parallel.hpp"

#include <algorithm>

#include "framework/distributed/ops.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "models/attention.hpp"
#include "models/carried.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/dense.hpp"
#include "models/vla/inverse_penalty.hpp"

namespace vla {
namespace {

constexpr Index kBlock = 1024;  // tokens that are held in float64 at a time

// Tokens begin .. end-1 of x (B, T, H, n), as (B, H, tokens, n) in float64.
Var block_of(const Tensor& x, Index begin, Index end) {
  return permute(Var(slice(Var(x), 1, begin, end).value().to(DType::float64)), {0, 2, 1, 3});
}
// The same of numbers (B, T, H): (B, H, tokens, 1).
Var numbers_of(const Tensor& x, Index begin, Index end) {
  return block_of(x.reshape(x.shape().inserted(-1, 1)), begin, end);
}

// Calls see(begin, end) for the blocks of a part of `time` tokens; for none once, to have shapes.
template <class See>
void each_block(Index time, See see) {
  for (Index begin = 0; begin == 0 || begin < time; begin += kBlock)
    see(begin, std::min(begin + kBlock, time));
}

// sum over t of a_t b_t^T: a (B, T, H, n), b (B, T, H, m) -> (B, H, n, m), float64.
Tensor sum_of_products(const Tensor& a, const Tensor& b) {
  Tensor sum;
  each_block(a.size(1), [&](Index begin, Index end) {
    Tensor part =
        matmul(block_of(a, begin, end), block_of(b, begin, end), {.transpose_a = true}).value();
    if (sum.defined())
      sum.accumulate(part);
    else
      sum = part;
  });
  return sum;
}

// --- Sums of a part -----------------------------------------------------------------------------

// A block of a part in float64: x_t = (k_t, v_t), whose sums are sum over t of x_t (beta k)_t^T.
struct PartBlock {
  Var key, weight, both, weighted_key;
  PartBlock(const Tensor& k, const Tensor& v, const Tensor& beta, Index begin, Index end)
      : key(block_of(k, begin, end)),
        weight(numbers_of(beta, begin, end)),
        both(concat({key, block_of(v, begin, end)}, 3)),
        weighted_key(key * weight) {}
};

std::vector<Tensor> gradients_of_sums(const Tensor& k, const Tensor& v, const Tensor& beta,
                                      const Var& upstream) {
  const Index d = k.size(3), both = d + v.size(3);
  std::vector<Var> dk, dv, dbeta;
  const auto keep = [](std::vector<Var>& parts, const Var& block, const Tensor& like) {
    parts.emplace_back(permute(block, {0, 2, 1, 3}).value().to(like.dtype()));
  };
  each_block(k.size(1), [&](Index begin, Index end) {
    const PartBlock at(k, v, beta, begin, end);
    const Var dboth = matmul(at.weighted_key, upstream, {.transpose_b = true});
    const Var dweighted = matmul(at.both, upstream);
    keep(dk, slice(dboth, 3, 0, d) + at.weight * dweighted, k);
    keep(dv, slice(dboth, 3, d, both), v);
    keep(dbeta, sum(at.key * dweighted, {3}, {.keep = true}), beta);
  });
  return {concat(dk, 1).value(), concat(dv, 1).value(),
          concat(dbeta, 1).value().reshape(beta.shape())};
}

// P on top of N: (B, H, d + d_v, d), float64.
Var sums_of_part(const LeastSquaresInputs& in, CallSite site) {
  const Tensor &k = in.key.value(), &v = in.value.value(), &beta = in.weight.value();
  Tensor sums = Tensor::zeros({k.size(0), k.size(2), k.size(3) + v.size(3), k.size(3)},
                              DType::float64, k.device());
  {
    const PauseRecording by_hand;
    each_block(k.size(1), [&](Index begin, Index end) {
      const PartBlock at(k, v, beta, begin, end);
      sums.accumulate(matmul(at.both, at.weighted_key, {.transpose_a = true}).value());
    });
  }
  return record(
      "sums_of_part", sums, {in.key, in.value, in.weight}, {k, v, beta},
      [](const BackwardContext& at) {
        return gradients_of_sums(at.saved(0), at.saved(1), at.saved(2), at.gradient());
      },
      site);
}

// --- Where a part begins ------------------------------------------------------------------------

Tensor identity(Index n, Device device) {
  Tensor result = Tensor::zeros({n, n}, DType::float64);
  for (Index i = 0; i < n; ++i) result.mutable_data<double>()[i * (n + 1)] = 1;
  return result.to(device);
}

// M^-1 of every sequence and head, (B, H, d, d). They are few, so that the host does it.
Tensor inverses(const Tensor& penalty) {
  const Index d = penalty.size(3);
  Tensor spoilt = penalty.to(Device{}).clone(), result = empty_like(spoilt);
  std::vector<double> scratch(static_cast<std::size_t>(d * d));
  for (Index i = 0; i < penalty.size(0) * penalty.size(1); ++i)
    check(
        invert(spoilt.mutable_data<double>() + i * d * d, d,
               result.mutable_data<double>() + i * d * d, scratch.data()),
        "sequence_parallel_least_squares: the penalty of sequence ", i / penalty.size(1), ", head ",
        i % penalty.size(1),
        " where this part begins is not positive definite; keys and weights of earlier ranks must "
        "be finite, weights 0 or more, lambda0 above 0");
  return result.to(penalty.device());
}

// S = N A with A = M^-1, whose gradient is dN = dS A and dM = -A^T N^T dS A = -S^T dN.
Var memory_of(const Var& sums, const Var& penalty, const Tensor& inverse, CallSite site) {
  const Var a(inverse);
  const Tensor memory = matmul(detach(sums), a).value();
  return record(
      "memory_of_earlier_ranks", memory, {sums, penalty}, {memory, inverse},
      [](const BackwardContext& at) -> std::vector<Tensor> {
        const Var dsums = matmul(at.gradient(), at.saved(1));
        const Var dpenalty = matmul(at.saved(0), dsums, {.transpose_a = true});
        return {dsums.value(), (-dpenalty).value()};
      },
      site);
}

// y_t = (M_0 + sum of beta u u^T up to t)^-1 u_t for the keys u, with the gradient of M_0, which is
// -sum over t of h_t y_t^T (symmetric part) with h the gradient of the vectors that A is applied
// to. inverse_penalty knows h and takes M_0 as a constant: so the vectors pass a node of their own.
Var apply_inverse(const LeastSquaresInputs& in, const Var& penalty, const Tensor& inverse,
                  CallSite site) {
  const auto output = std::make_shared<Tensor>();
  const Var vectors = record(
      "penalty_of_earlier_ranks", in.key.value(), {in.key, penalty}, {},
      [output](const BackwardContext& at) -> std::vector<Tensor> {
        const Var sum = sum_of_products(at.gradient(), *output);
        return {at.gradient(), (-0.5 * (sum + permute(sum, {0, 1, 3, 2}))).value()};
      },
      site);
  const Tensor &m = penalty.value(),
               kept = Tensor::full(m.shape().without(3).without(2), 1, DType::float64, m.device());
  const InversePenaltyResult solved = inverse_penalty(
      vectors, {.directions = in.key, .weights = in.weight, .lambda0 = detach(in.lambda0)},
      {.initial = {.penalty = m, .inverse = inverse, .kept = kept}}, site);
  *output = solved.output.value();
  return solved.output;
}

}  // namespace

Var sequence_parallel_least_squares(const LeastSquaresInputs& in, const Communicator& ranks,
                                    CallSite site) {
  check_least_squares(in);
  if (ranks.size() == 1) return recursive_least_squares(in, site).output;
  const Index d = in.key.size(3), heads = in.key.size(2);
  const DType dtype = in.key.dtype();
  const Var before = sum_of_earlier_ranks(sums_of_part(in, site), ranks, site);
  const Var lambda0 = reshape(cast(in.lambda0, DType::float64, site), {heads, 1, 1}, site);
  const Var penalty = add(slice(before, 2, 0, d, site),
                          mul(lambda0, Var(identity(d, in.key.device())), site), site);
  const Tensor inverse = inverses(penalty.value());
  const Var memory = memory_of(slice(before, 2, d, before.size(2), site), penalty, inverse, site);
  const Var alpha =
      scale_heads(apply_inverse(in, penalty, inverse, site), cast(in.weight, dtype, site), site);
  return delta_rule({.query = in.query,
                     .key = in.key,
                     .coefficient = alpha,
                     .value = in.value,
                     .initial_state = cast(memory, state_dtype(dtype), site)},
                    {}, site)
      .output;
}

}  // namespace vla
