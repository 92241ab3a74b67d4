// Reductions against plain sums, their accuracy, and their edge values.

#include "framework/ops/reduce.hpp"

#include <cmath>
#include <limits>

#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The places of x, in row-major order, that are reduced to each place of the result.
std::vector<std::vector<double>> groups(const Tensor& x, const std::vector<bool>& reduced) {
  Index count = 1;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (!reduced[static_cast<std::size_t>(axis)]) count *= x.size(axis);
  std::vector<std::vector<double>> result(static_cast<std::size_t>(count));
  for (Index place = 0; place < x.elements(); ++place) {
    Index rest = place, target = 0, stride = 1;
    for (int axis = x.rank() - 1; axis >= 0; rest /= x.size(axis--)) {
      if (reduced[static_cast<std::size_t>(axis)]) continue;
      target += rest % x.size(axis) * stride;
      stride *= x.size(axis);
    }
    result[static_cast<std::size_t>(target)].push_back(
        x.values<double>()[static_cast<std::size_t>(place)]);
  }
  return result;
}

Tensor gradient_of_max(const std::vector<double>& values, double upstream) {
  const Var x = Var::parameter(Tensor::from({static_cast<Index>(values.size())}, values));
  Tape tape;
  return tape.backward(max(x), Tensor::scalar(upstream, DType::float64))[x];
}

double norm_of(const std::vector<double>& values, DType dtype = DType::float64) {
  const Tensor x = Tensor::from({static_cast<Index>(values.size())}, values);
  return norm(Var(x.to(dtype))).value().item();
}

Var zeros(const Shape& shape, DType dtype = DType::float32) { return Tensor::zeros(shape, dtype); }

}  // namespace

BOOST_AUTO_TEST_SUITE(reduce)

BOOST_AUTO_TEST_CASE(every_choice_of_axes) {
  for (const Shape& shape : {Shape{3, 2, 4, 5}, Shape{2, 1, 3, 1}, Shape{2, 300, 2, 2},
                             Shape{1, 2, 2, 5000}, Shape{3, 600, 1, 1}}) {
    const Tensor x = Rng(1).normal(shape, DType::float64);
    for (unsigned choice = 1; choice < 16; ++choice) {
      std::vector<bool> reduced;
      std::vector<int> axes;
      for (int axis = 0; axis < 4; ++axis) {
        reduced.push_back(choice >> axis & 1);
        if (reduced.back()) axes.push_back(axis);
      }
      const Tensor sums = sum(x, axes).value(), means = mean(x, axes).value();
      const Tensor norms = norm(x, axes).value(), largest = max(x, axes).value();
      const auto expected = groups(x, reduced);
      BOOST_REQUIRE_EQUAL(static_cast<std::size_t>(sums.elements()), expected.size());
      BOOST_TEST_CONTEXT(shape << " choice " << choice)
      for (std::size_t i = 0; i < expected.size(); ++i) {
        double total = 0, squares = 0, top = -kInfinity;
        for (double value : expected[i]) {
          total += value;
          squares += value * value;
          top = std::max(top, value);
        }
        const double count = static_cast<double>(expected[i].size());
        BOOST_REQUIRE_SMALL(sums.values<double>()[i] - total, 1e-11);
        BOOST_REQUIRE_SMALL(means.values<double>()[i] - total / count, 1e-13);
        BOOST_REQUIRE_SMALL(norms.values<double>()[i] - std::sqrt(squares), 1e-11);
        BOOST_REQUIRE_EQUAL(largest.values<double>()[i], top);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(shapes_of_results) {
  const Var x = zeros({2, 3, 5});
  BOOST_TEST(sum(x).shape() == Shape{});
  BOOST_TEST(sum(x, {}, {.keep = true}).shape() == (Shape{1, 1, 1}));
  BOOST_TEST(mean(x, {-1}).shape() == (Shape{2, 3}));
  BOOST_TEST(max(x, {2, 0}).shape() == (Shape{3}));
  BOOST_TEST(norm(x, {0, 2}, {.keep = true}).shape() == (Shape{1, 3, 1}));
  BOOST_TEST(cumulative_sum(x, 1).shape() == (Shape{2, 3, 5}));
}

BOOST_AUTO_TEST_CASE(float32_sums_stay_accurate) {
  // Equal terms are the worst case: every rounding goes the same way. One after the other in
  // float32, these sums would end 4e-2 beside the truth.
  const Tensor x = Tensor::full({1 << 22}, 0.1, DType::float32);
  const double exact = (1 << 22) * static_cast<double>(0.1f);
  const auto tolerance = boost::test_tools::tolerance(1e-6);
  BOOST_TEST(sum(x).value().item() == exact, tolerance);
  BOOST_TEST(sum(x.reshape({1 << 21, 2}), {0}).value().at<float>({1}) == exact / 2, tolerance);
  BOOST_TEST(sum(x.reshape({2, 1 << 21}), {1}).value().at<float>({1}) == exact / 2, tolerance);
  BOOST_TEST(sum(x.reshape({1 << 11, 2, 1 << 10}), {0, 2}).value().at<float>({1}) == exact / 2,
             tolerance);
  BOOST_TEST(mean(x).value().item() == static_cast<double>(0.1f), tolerance);
  BOOST_TEST(norm(x).value().item() == std::sqrt(exact * static_cast<double>(0.1f)), tolerance);
  const Tensor running = cumulative_sum(x, 0).value();
  BOOST_TEST(running.at<float>({(1 << 22) - 1}) == exact, tolerance);
}

BOOST_AUTO_TEST_CASE(results_do_not_depend_on_the_number_of_threads) {
  const int before = thread_count();
  const Tensor x = Rng(1).normal({700, 3, 600}, DType::float32);
  std::vector<std::vector<Tensor>> results;
  for (int threads : {1, 3}) {
    set_thread_count(threads);
    results.push_back({sum(x).value(), sum(x, {0}).value(), sum(x, {1}).value(),
                       sum(x, {2}).value(), sum(x, {0, 2}).value(), norm(x).value(),
                       cumulative_sum(x, 0).value(), cumulative_sum(x, 2).value()});
  }
  set_thread_count(before);
  for (std::size_t i = 0; i < results[0].size(); ++i)
    BOOST_TEST_CONTEXT("result " << i) check_close(results[1][i], results[0][i], 0);
}

BOOST_AUTO_TEST_CASE(nothing_sums_to_zero) {
  BOOST_TEST(sum(zeros({0})).value().item() == 0);
  BOOST_TEST(norm(zeros({0, 2})).value().item() == 0);
  const Tensor columns = sum(zeros({0, 3}), {0}).value();
  BOOST_TEST(columns.values<float>() == (std::vector<float>{0, 0, 0}),
             boost::test_tools::per_element());
  BOOST_TEST(sum(zeros({0, 3}), {1}).shape() == Shape{0});
  BOOST_TEST(mean(zeros({0, 3}), {1}).shape() == Shape{0});
  BOOST_TEST(cumulative_sum(zeros({0}), 0).shape() == Shape{0});
  BOOST_CHECK_EXCEPTION(mean(zeros({0, 3}), {0}), Error,
                        says("mean: shape (0, 3) has no elements along the reduced axes; 1 or "
                             "more"));
  BOOST_CHECK_EXCEPTION(max(zeros({0})), Error,
                        says("max: shape (0) has no elements along the reduced axes; 1 or more"));
}

BOOST_AUTO_TEST_CASE(a_result_does_not_share_storage_with_its_input) {
  const Var x(Tensor::full({1}, 3, DType::float32));
  for (const Var& y : {sum(x), mean(x), max(x), norm(x), cumulative_sum(x, 0)}) {
    BOOST_TEST(!y.value().shares_storage(x.value()));
    BOOST_TEST(y.value().item() == 3);
  }
}

BOOST_AUTO_TEST_CASE(equal_largest_elements_share_the_gradient) {
  const auto per_element = boost::test_tools::per_element();
  BOOST_TEST(
      gradient_of_max({1, 4, 2, 4, 4}, 6).values<double>() == (std::vector<double>{0, 2, 0, 2, 2}),
      per_element);
  BOOST_TEST(
      gradient_of_max({-kInfinity, -kInfinity}, 6).values<double>() == (std::vector<double>{3, 3}),
      per_element);
}

BOOST_AUTO_TEST_CASE(max_shows_nan) {
  for (std::size_t place : {0u, 20u, 64u, 69u}) {
    std::vector<double> values(70, 1);
    values[place] = std::nan("");
    BOOST_TEST(std::isnan(max(Var(Tensor::from({70}, values))).value().item()));
    BOOST_TEST(std::isnan(sum(max(Var(Tensor::from({35, 2}, values)), {0})).value().item()));
  }
}

BOOST_AUTO_TEST_CASE(norms_neither_overflow_nor_underflow) {
  const auto tolerance = boost::test_tools::tolerance(1e-6);
  BOOST_TEST(norm_of({3e200, -4e200}) == 5e200, tolerance);
  BOOST_TEST(norm_of({3e-200, 4e-200}) == 5e-200, tolerance);
  BOOST_TEST(norm_of({3e30, 4e30}, DType::float32) == 5e30, tolerance);
  BOOST_TEST(norm_of({3e-30, 4e-30}, DType::float32) == 5e-30, tolerance);
  BOOST_TEST(norm_of({0, 0}) == 0);
  BOOST_TEST(norm_of({1, -kInfinity}) == kInfinity);
  BOOST_TEST(std::isnan(norm_of({1, std::nan("")})));
}

BOOST_AUTO_TEST_CASE(the_gradient_of_a_norm_at_zero_is_zero) {
  const Var x = Var::parameter(Tensor::from<double>({2, 2}, {0, 0, 3e-200, 4e-200}));
  Tape tape;
  const Tensor dx = tape.backward(norm(x, {1}), Tensor::from<double>({2}, {5, 10}))[x];
  BOOST_TEST(dx.values<double>()[0] == 0);
  BOOST_TEST(dx.values<double>()[1] == 0);
  BOOST_TEST(dx.values<double>()[2] == 6, boost::test_tools::tolerance(1e-14));
  BOOST_TEST(dx.values<double>()[3] == 8, boost::test_tools::tolerance(1e-14));
}

BOOST_AUTO_TEST_CASE(running_sums) {
  const Tensor x = Tensor::from<double>({2, 3}, {1, 2, 3, 10, 20, 30});
  BOOST_TEST(
      cumulative_sum(x, 1).value().values<double>() == (std::vector<double>{1, 3, 6, 10, 30, 60}),
      boost::test_tools::per_element());
  BOOST_TEST(
      cumulative_sum(x, -2).value().values<double>() == (std::vector<double>{1, 2, 3, 11, 22, 33}),
      boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(sums_to_a_shape_undo_broadcasting) {
  const Tensor x = Tensor::full({2, 3, 5}, 1, DType::float64);
  for (const Shape& shape : {Shape{}, Shape{5}, Shape{3, 1}, Shape{2, 1, 5}, Shape{1, 1, 1}}) {
    const Tensor y = sum_to_shape(x, shape);
    BOOST_TEST(y.shape() == shape);
    for (double value : y.values<double>()) BOOST_TEST(value == 30.0 / double(shape.elements()));
  }
  BOOST_TEST(sum_to_shape(x, x.shape()).shares_storage(x));
  BOOST_TEST(sum_to_shape(Tensor({0, 3}, DType::float64), {1, 3}).at<double>({0, 2}) == 0);
  BOOST_CHECK_EXCEPTION(sum_to_shape(x, {2}), Error,
                        says("sum_to_shape: shapes (2) and (2, 3, 5) do not broadcast: 2 and 5 on "
                             "axis -1; sizes must be equal or 1"));
  BOOST_CHECK_EXCEPTION(sum_to_shape(x, {1, 2, 3, 5}), Error,
                        says("sum_to_shape: shape (1, 2, 3, 5) does not repeat to (2, 3, 5)"));
}

BOOST_AUTO_TEST_CASE(wrong_axes_and_types_are_refused) {
  BOOST_CHECK_EXCEPTION(sum(zeros({2, 3}), {2}), Error,
                        says("sum: axis 2 of shape (2, 3) is out of range; allowed: -2 to 1"));
  BOOST_CHECK_EXCEPTION(mean(zeros({2, 3}), {1, -1}), Error,
                        says("mean: axis -1 of shape (2, 3) is named twice"));
  BOOST_CHECK_EXCEPTION(cumulative_sum(zeros({2}), 1), Error,
                        says("cumulative_sum: axis 1 of shape (2) is out of range; allowed: -1 to "
                             "0"));
  using Op = Var (*)(const Var&, const std::vector<int>&, ReduceOptions, CallSite);
  for (const auto& [name, op] : std::vector<std::pair<std::string, Op>>{
           {"sum", sum}, {"mean", mean}, {"max", max}, {"norm", norm}})
    BOOST_CHECK_EXCEPTION(op(zeros({2}, DType::int64), {}, {}, {}), Error,
                          says(name + ": element type int64 is not allowed; float32 or float64"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
