// A very long sequence, streamed: float32 stays close to float64 however many tokens came before.
// The long one is run by tools/soak alone.

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/random.hpp"
#include "models/attention.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

// Exact VLA on one head, a block of tokens after the other.
struct Stream {
  DType dtype;
  PenaltyState penalty = {};
  Var memory = {};

  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& beta) {
    const Var keys(k.to(dtype)), weights(beta.to(dtype));
    const InversePenaltyResult solved = inverse_penalty(
        keys,
        {.directions = keys, .weights = weights, .lambda0 = Var(Tensor::full({1}, 0.1, dtype))},
        {.initial = penalty});
    const DeltaRuleResult result = delta_rule({.query = Var(q.to(dtype)),
                                               .key = keys,
                                               .coefficient = scale_heads(solved.output, weights),
                                               .value = Var(v.to(dtype)),
                                               .initial_state = memory});
    penalty = solved.state;
    memory = result.final_state;
    return result.output.value();
  }
};

// The largest relative difference of float32 from float64 in the outputs of a block, over the last
// tenth of the tokens.
double difference_after(Index tokens) {
  constexpr Index d = 32;
  Rng rng(11);
  Stream narrow{DType::float32}, wide{DType::float64};
  double worst = 0;
  for (Index done = 0; done < tokens;) {
    // Odd sizes, single tokens among them.
    const Index block = std::min<Index>(rng.below(8) == 0 ? 1 : 1 + rng.below(4000), tokens - done);
    const Shape shape{1, block, 1, d};
    const auto features = [&] {
      const Var raw(rng.normal(shape, DType::float32));
      return unit(elu_plus_one(raw)).value();
    };
    const Tensor q = features(), k = features(), v = rng.normal(shape, DType::float32);
    const Tensor beta = rng.uniform({1, block, 1}, DType::float32);
    const Tensor expected = wide(q, k, v, beta);
    const double difference = relative_difference(narrow(q, k, v, beta), expected);
    done += block;
    if (done > tokens / 10 * 9) worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(soak)

BOOST_AUTO_TEST_CASE(a_hundred_thousand_tokens_in_float32) {
  BOOST_TEST(difference_after(100'000) <= 1e-4);
}

BOOST_AUTO_TEST_SUITE_END()

// Not a suite that ctest knows: tools/soak runs it.
BOOST_AUTO_TEST_SUITE(long_soak)

BOOST_AUTO_TEST_CASE(a_million_tokens_in_float32) {
  const double difference = difference_after(1'000'000);
  BOOST_TEST_MESSAGE("relative difference after a million tokens: " << difference);
  BOOST_TEST(difference <= 1e-4);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
