// The published primitives against their definitions. Their gradients are rows of layer_cases().

#include "models/vla/primitives.hpp"

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

Tensor matrix(const Shape& shape, const std::vector<double>& values) {
  return Tensor::from<double>(shape, values);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(primitives)

BOOST_AUTO_TEST_CASE(scores_are_scaled_inner_products) {
  const Var keys(matrix({2, 4}, {1, 0, 0, 0, 1, 2, 3, 4})), query(matrix({4}, {2, 1, 1, 1}));
  check_close(inner_product_score(keys, query).value(), matrix({2}, {1, 5.5}), 1e-15);
}

BOOST_AUTO_TEST_CASE(sherman_morrison_inverts_the_updated_matrix) {
  Rng rng(3);
  const Tensor u = rng.normal({2, 3}, DType::float64);
  Tensor m = matrix({3, 3}, {2, 0, 0, 0, 2, 0, 0, 0, 2});
  Var a(matrix({3, 3}, {0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5}));
  a = sherman_morrison_updates(a, Var(u));
  for (Index r = 0; r < 2; ++r)
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 3; ++j)
        m.mutable_values<double>()[static_cast<std::size_t>(i * 3 + j)] +=
            u.at<double>({r, i}) * u.at<double>({r, j});
  check_close(matmul(a, Var(m)).value(), matrix({3, 3}, {1, 0, 0, 0, 1, 0, 0, 0, 1}), 1e-14);
}

BOOST_AUTO_TEST_CASE(no_direction_changes_nothing) {
  const Var a(matrix({2, 2}, {3, 1, 1, 2}));
  check_close(sherman_morrison(a, Var(Tensor::zeros({2}, DType::float64))).value(), a.value(), 0);
  check_close(sherman_morrison_updates(a, Var(Tensor({0, 2}, DType::float64))).value(), a.value(),
              0);
}

BOOST_AUTO_TEST_CASE(alpha_and_memory) {
  const Var a(matrix({2, 2}, {3, 1, 1, 2})), s(matrix({2}, {1, 10}));
  check_close(recover_alpha(a, s).value(), matrix({2}, {13, 21}), 1e-15);
  const Var memory(Tensor::zeros({2, 3}, DType::float64)), v(matrix({2}, {1, 2}));
  const Var k(matrix({3}, {1, 0, 5}));
  check_close(memory_update(memory, Var(matrix({1}, {2})), v, k).value(),
              matrix({2, 3}, {2, 0, 10, 4, 0, 20}), 1e-15);
  check_close(memory_update(memory, Var(matrix({2}, {1, 3})), v, k, AlphaScales::rows).value(),
              matrix({2, 3}, {1, 0, 5, 6, 0, 30}), 1e-15);
  check_close(
      memory_update(memory, Var(matrix({3}, {1, 1, 2})), v, k, AlphaScales::columns).value(),
      matrix({2, 3}, {1, 0, 10, 2, 0, 20}), 1e-15);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  const Var a(Tensor::zeros({2, 2}, DType::float64)), u(Tensor::zeros({3}, DType::float64));
  BOOST_CHECK_EXCEPTION(sherman_morrison(a, u), Error,
                        says("sherman_morrison: A has shape (2, 2); (3, 3) is needed"));
  BOOST_CHECK_EXCEPTION(sherman_morrison(Var(matrix({1, 1}, {-0.25})), Var(matrix({1}, {2}))),
                        Error, says("sherman_morrison: 1 + u.A u is 0: M + u u^T has no inverse"));
  BOOST_CHECK_EXCEPTION(memory_update(a, u, Var(Tensor::zeros({2}, DType::float64)),
                                      Var(Tensor::zeros({2}, DType::float64))),
                        Error, says("memory_update: alpha has 3 elements; 1 are needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
