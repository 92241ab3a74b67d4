// Recursive least squares against the closed form: with the unit weight the memory is at every
// token the ridge regression of the values on the keys, solved here by xtensor-blas.

#include "framework/ops/xtensor.hpp"
// The door above comes first.
#include <xtensor-blas/xlinalg.hpp>

#include "framework/random.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

// The largest relative error of S_t over all t.
double worst_error(DType dtype, float lambda0, OperatorForm form) {
  constexpr Index time = 150, d = 16, value_width = 7;
  Rng rng(5);
  // Exact in float32, so that the oracle sees the same numbers.
  const Tensor k =
      rng.normal({1, time, 1, d}, DType::float32, 0, 0.25).to(DType::float64);  // length about 1
  const Tensor v = rng.normal({1, time, 1, value_width}, DType::float32).to(DType::float64);
  xt::xarray<double> gram = static_cast<double>(lambda0) * xt::eye<double>(d);
  xt::xarray<double> sums = xt::zeros<double>({d, value_width});
  double worst = 0;
  for (Index t = 0; t < time; ++t) {
    for (Index i = 0; i < d; ++i) {
      for (Index j = 0; j < d; ++j)
        gram(i, j) += k.at<double>({0, t, 0, i}) * k.at<double>({0, t, 0, j});
      for (Index j = 0; j < value_width; ++j)
        sums(i, j) += k.at<double>({0, t, 0, i}) * v.at<double>({0, t, 0, j});
    }
    const xt::xarray<double> solved = xt::linalg::solve(gram, sums);  // S^T
    const auto first = [&](const Tensor& x) {
      return Var(Tensor::from<double>(
                     {1, t + 1, 1, x.size(3)},
                     x.values<double>().subspan(0, static_cast<std::size_t>((t + 1) * x.size(3))))
                     .to(dtype));
    };
    const Var keys = first(k);
    const Var alpha =
        inverse_penalty(keys,
                        {.directions = keys, .lambda0 = Var(Tensor::full({1}, lambda0, dtype))},
                        {.form = form})
            .output;
    const Tensor memory =
        delta_rule({.query = keys, .key = keys, .coefficient = alpha, .value = first(v)},
                   {.form = form})
            .final_state.value();
    Tensor expected({1, 1, value_width, d}, DType::float64);
    for (Index i = 0; i < value_width; ++i)
      for (Index j = 0; j < d; ++j)
        expected.mutable_values<double>()[static_cast<std::size_t>(i * d + j)] = solved(j, i);
    worst = std::max(worst, relative_difference(memory, expected));
  }
  return worst;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(ridge)

BOOST_AUTO_TEST_CASE(the_memory_is_the_ridge_regression) {
  for (const OperatorForm form : {OperatorForm::step, OperatorForm::chunk}) {
    BOOST_TEST(worst_error(DType::float64, 0.1f, form) <= 1e-11);
    BOOST_TEST(worst_error(DType::float32, 0.1f, form) <= 1e-5);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
