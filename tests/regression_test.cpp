// Linear regression in context: what is drawn, and the best that can be foretold of it.

#include "framework/ops/xtensor.hpp"
// The door above comes first.
#include <cmath>
#include <numeric>
#include <xtensor-blas/xlinalg.hpp>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/optim/optimizer.hpp"
#include "models/models.hpp"
#include "models/vector_model.hpp"
#include "tasks/regression.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

RegressionBatch batch_of(const RegressionOptions& options, Index size, std::uint64_t seed = 1) {
  Rng rng(seed);
  return Regression(options).sample(size, rng);
}

double mean_of(const std::vector<double>& values, std::size_t begin = 0) {
  return std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(begin), values.end(), 0.0) /
         static_cast<double>(values.size() - begin);
}

std::string refused(const RegressionOptions& options) {
  return error_of([&] { Regression task(options); });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(regression)

BOOST_AUTO_TEST_CASE(pairs_have_the_moments_of_their_definition) {
  for (const RegressionOptions& options :
       {RegressionOptions{}, RegressionOptions{.noise = 0.5},
        RegressionOptions{.dimensions = 3, .noise = 0.1, .drift = 0.3}}) {
    const RegressionBatch batch = batch_of(options, 4000);
    BOOST_TEST(batch.x.shape() == Shape({4000, options.points, options.dimensions}));
    BOOST_TEST(batch.y.shape() == Shape({4000, options.points}));
    double squares = 0;
    for (double value : batch.x.values<double>()) squares += value * value;
    BOOST_TEST(squares / double(batch.y.elements()) == 1, boost::test_tools::tolerance(0.02));
    // Of the answer 0, at the first place and at the last.
    const std::vector<double> errors = mean_squared_errors(zeros_like(batch.y), batch.y);
    const double expected = 1 + options.noise * options.noise;
    BOOST_TEST(errors.front() == expected, boost::test_tools::tolerance(0.15));
    BOOST_TEST(errors.back() == expected, boost::test_tools::tolerance(0.15));
    BOOST_TEST(mean_of(errors) == expected, boost::test_tools::tolerance(0.05));
  }
}

BOOST_AUTO_TEST_CASE(a_model_is_given_x_and_the_y_before) {
  const RegressionBatch batch = batch_of({.dimensions = 2, .points = 3}, 2);
  const Tensor inputs = batch.inputs();
  BOOST_REQUIRE(inputs.shape() == Shape({2, 3, 3}));
  for (Index b = 0; b < 2; ++b)
    for (Index t = 0; t < 3; ++t) {
      for (Index i = 0; i < 2; ++i)
        BOOST_TEST(inputs.at<double>({b, t, i}) == batch.x.at<double>({b, t, i}));
      BOOST_TEST(inputs.at<double>({b, t, 2}) == (t == 0 ? 0 : batch.y.at<double>({b, t - 1})));
    }
}

BOOST_AUTO_TEST_CASE(a_batch_follows_from_the_state_of_the_generator) {
  const Regression task({.noise = 0.1, .drift = 0.1});
  Rng rng(1), joint(1), again(1);
  task.sample(3, rng);
  const RegressionBatch next = task.sample(2, rng), both = task.sample(5, joint);
  BOOST_TEST((rng.state() == joint.state()));
  BOOST_TEST(std::ranges::equal(next.y.values<double>(), both.y.values<double>().last(48)));
  BOOST_TEST(std::ranges::equal(both.x.values<double>(), task.sample(5, again).x.values<double>()));
}

BOOST_AUTO_TEST_CASE(ridge_is_what_a_direct_solve_gives) {
  const RegressionBatch batch = batch_of({.dimensions = 5, .points = 14, .noise = 0.3}, 3);
  const double penalty = 0.09;
  const Tensor foretold = ridge_predictions(batch, penalty);
  for (Index b = 0; b < 3; ++b)
    for (Index t = 0; t < 14; ++t) {
      xt::xarray<double> gram = penalty * xt::eye<double>(5);
      xt::xarray<double> sums = xt::zeros<double>({5});
      for (Index s = 0; s < t; ++s)
        for (Index i = 0; i < 5; ++i) {
          for (Index j = 0; j < 5; ++j)
            gram(i, j) += batch.x.at<double>({b, s, i}) * batch.x.at<double>({b, s, j});
          sums(i) += batch.x.at<double>({b, s, i}) * batch.y.at<double>({b, s});
        }
      const xt::xarray<double> w = xt::linalg::solve(gram, sums);
      double expected = 0;
      for (Index i = 0; i < 5; ++i) expected += w(i) * batch.x.at<double>({b, t, i});
      BOOST_TEST(std::abs(foretold.at<double>({b, t}) - expected) < 1e-12);
    }
}

BOOST_AUTO_TEST_CASE(without_drift_the_kalman_optimum_is_ridge_with_the_variance_of_the_noise) {
  for (double noise : {0.05, 0.3, 2.0}) {
    const RegressionOptions options{.points = 40, .noise = noise};
    const RegressionBatch batch = batch_of(options, 20);
    BOOST_TEST(relative_difference(kalman_predictions(batch, options),
                                   ridge_predictions(batch, noise * noise)) < 1e-10);
  }
}

BOOST_AUTO_TEST_CASE(without_noise_as_many_pairs_as_dimensions_tell_all) {
  const RegressionOptions options{.dimensions = 6, .points = 16};
  const RegressionBatch batch = batch_of(options, 400);
  const std::vector<double> errors =
      mean_squared_errors(kalman_predictions(batch, options), batch.y);
  // Before that a share of 1 - t/d of w is unknown.
  for (std::size_t t = 0; t < 6; ++t)
    BOOST_TEST(errors[t] == 1 - double(t) / 6, boost::test_tools::tolerance(0.25));
  for (std::size_t t = 8; t < 16; ++t) BOOST_TEST(errors[t] < 1e-3);
}

// Whoever knows less, or something else, is further off.
BOOST_AUTO_TEST_CASE(the_kalman_filter_is_the_best_where_w_drifts) {
  const RegressionOptions options{.points = 60, .noise = 0.2, .drift = 0.05};
  const RegressionBatch batch = batch_of(options, 600);
  const auto error = [&](const Tensor& foretold) {
    return mean_of(mean_squared_errors(foretold, batch.y), 20);
  };
  const double best = error(kalman_predictions(batch, options));
  BOOST_TEST(best > options.noise * options.noise);
  for (double penalty : {0.04, 0.2, 1.0, 5.0})
    BOOST_TEST(error(ridge_predictions(batch, penalty)) > 1.1 * best);
  for (const RegressionOptions& other : {RegressionOptions{.noise = 0.2, .drift = 0.01},
                                         RegressionOptions{.noise = 0.2, .drift = 0.2},
                                         RegressionOptions{.noise = 0.6, .drift = 0.05}})
    BOOST_TEST(error(kalman_predictions(batch, other)) > best);
  // With all of w new at every point nothing can be known.
  const RegressionOptions anew{.noise = 0.2, .drift = 1};
  const Tensor predicted = kalman_predictions(batch_of(anew, 5), anew);
  for (double value : predicted.values<double>()) BOOST_TEST(value == 0);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  BOOST_TEST(refused({.dimensions = 0}) == "regression: dimensions 0 is not allowed; 1 to 1024");
  BOOST_TEST(refused({.points = 0}) == "regression: points 0 is not allowed; 1 to 1048576");
  BOOST_TEST(refused({.noise = -1}) == "regression: noise -1 is not allowed; 0 or more");
  BOOST_TEST(refused({.drift = 1.5}) == "regression: drift 1.5 is not allowed; 0 to 1");
  BOOST_TEST(refused({.drift = std::nan("")}) == "regression: drift nan is not allowed; 0 to 1");
  const RegressionBatch batch = batch_of({}, 2);
  BOOST_CHECK_EXCEPTION(ridge_predictions(batch, 0), Error,
                        says("regression: ridge penalty 0 is not allowed; above 0"));
  BOOST_CHECK_THROW(ridge_predictions({batch.x, batch.x}, 1), Error);
  BOOST_CHECK_THROW(mean_squared_errors(batch.x, batch.y), Error);
  Rng rng(1);
  BOOST_CHECK_THROW(Regression().sample(-1, rng), Error);
}

// A model of vectors learns to do better than the best answer that does not look back.
BOOST_AUTO_TEST_CASE(a_model_of_vectors_learns_it) {
  const Regression task({.dimensions = 2, .points = 10});
  Rng weights(1), data(2);
  VectorModel model(
      {.inputs = 3, .body = {.width = 16, .layers = 2, .hidden = 32}},
      mixer_factory("vla", {.attention = {.width = 16, .heads = 2, .deviation = 0.02}}), weights);
  AdamW adam(parameters(model), {.rate = 5e-3});
  double first = 0, last = 0;
  for (int step = 0; step < 250; ++step) {
    const RegressionBatch batch = task.sample(32, data);
    Tape tape;
    const Var foretold =
        reshape(model(batch.inputs().to(DType::float32)), {batch.y.size(0), batch.y.size(1)});
    const Var loss = mean(square(foretold - Var(batch.y.to(DType::float32))));
    adam.step(tape.backward(loss), {.clip = 1});
    (step < 10 ? first : last) += step < 10 || step >= 240 ? loss.value().item() / 10 : 0;
  }
  BOOST_TEST(first > 0.8);
  BOOST_TEST(last < 0.6 * first);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
