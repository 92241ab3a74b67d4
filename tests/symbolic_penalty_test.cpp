// The symbolic direction of version 1, by hand.

#include "models/vla/symbolic_penalty.hpp"

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/reduce.hpp"
#include "tests/compare.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(symbolic_penalty)

// Row sums 4, 1 and 4, so W[0,0] = 1, W[2,0] = 1/4, W[2,2] = 3/4; token 1 has only a later
// relation.
BOOST_AUTO_TEST_CASE(three_tokens_by_hand) {
  const Tensor relations = Tensor::from<double>({1, 3, 3}, {4, 0, 0, 0, 0, 1, 1, 0, 3});
  const Var k = Var::parameter(Tensor::from<double>({1, 3, 1, 2}, {1, -2, 5, 7, 4, 0.5}));
  Tape tape;
  const SymbolicDirection result = symbolic_direction(k, relations, 0.25);
  BOOST_TEST(result.active.values<std::uint8_t>() == std::vector<std::uint8_t>({1, 0, 1}),
             boost::test_tools::per_element());
  // sqrt(1/4) of k_0, of nothing, of k_0 / 4 + 3 k_2 / 4; the 1e-6 of the row sums is in the 1e-6.
  check_close(result.direction.value(),
              Tensor::from<double>({1, 3, 1, 2}, {0.5, -1, 0, 0, 1.625, -0.0625}), 1e-6);
  // With weights 1, 10, 100 on the tokens: k_0 gets (1 + 100/4) / 2, k_2 gets 75 / 2.
  const Var weights(Tensor::from<double>({1, 3, 1, 1}, {1, 10, 100}));
  check_close(tape.backward(sum(result.direction * weights))[k],
              Tensor::from<double>({1, 3, 1, 2}, {13, 13, 0, 0, 37.5, 37.5}), 1e-6);
}

BOOST_AUTO_TEST_CASE(no_relations_and_no_tokens) {
  const Var k(Tensor::full({2, 3, 1, 2}, 1, DType::float64));
  const SymbolicDirection none =
      symbolic_direction(k, Tensor::zeros({2, 3, 3}, DType::float64), 0.5);
  for (const double element : none.direction.value().values<double>()) BOOST_TEST(element == 0);
  for (const std::uint8_t active : none.active.values<std::uint8_t>()) BOOST_TEST(active == 0);

  const Var empty(Tensor({2, 0, 1, 2}, DType::float64));
  const SymbolicDirection nothing =
      symbolic_direction(empty, Tensor({2, 0, 0}, DType::float64), 0.5);
  BOOST_TEST(nothing.direction.shape() == Shape({2, 0, 1, 2}));
  BOOST_TEST(nothing.active.shape() == Shape({2, 0}));
}

BOOST_AUTO_TEST_CASE(equal_tokens_are_related) {
  const Tensor relations =
      equal_tokens(Tensor::from<Index>({2, 3}, {3, 1, 3, 2, 2, 2}), DType::float64);
  const std::vector<double> expected{1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  BOOST_TEST(relations.shape() == Shape({2, 3, 3}));
  BOOST_TEST(relations.values<double>() == expected, boost::test_tools::per_element());
  BOOST_TEST(equal_tokens(Tensor({2, 0}, DType::int64), DType::float32).shape() ==
             Shape({2, 0, 0}));
}

BOOST_AUTO_TEST_CASE(relations_that_do_not_fit_are_refused) {
  const Var k(Tensor::full({1, 2, 1, 2}, 1, DType::float64));
  const auto call = [&](const Tensor& relations) {
    return [&k, relations] { symbolic_direction(k, relations, 1); };
  };
  BOOST_CHECK_EXCEPTION(call(Tensor::zeros({1, 2, 3}, DType::float64))(), Error,
                        says("symbolic penalty: relations (1, 2, 3) are not (1, 2, 2)"));
  BOOST_CHECK_EXCEPTION(
      call(Tensor::zeros({1, 2, 2}, DType::float32))(), Error,
      says("symbolic penalty: relations are float32 and keys float64; the same is needed"));
  BOOST_CHECK_EXCEPTION(call(Tensor::from<double>({1, 2, 2}, {1, 0, -2, 1}))(), Error,
                        says("symbolic penalty: the relation of token 1 to token 0 is -2; 0 or a "
                             "finite number above it is needed"));
  BOOST_CHECK_EXCEPTION(
      call(Tensor::from<double>({1, 2, 2}, {1, 0, 1, INFINITY}))(), Error,
      says("symbolic penalty: the relations of token 1 sum to inf; a finite number is needed"));
  BOOST_CHECK_EXCEPTION(equal_tokens(Tensor({3}, DType::int64), DType::float64), Error,
                        says("equal_tokens: tokens have shape (3); (B, T) is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
