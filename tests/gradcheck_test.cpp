// What gradcheck accepts and what it refuses.

#include "framework/gradcheck.hpp"

#include <cstdio>
#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/embedding.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

using Vars = std::vector<Var>;

// x whose rule multiplies the slope of element `place` by `factor`.
Var identity_with_slope(const Var& x, Index place, double factor) {
  return record("identity", x.value().clone(), {x}, {},
                [=](const BackwardContext& at) -> std::vector<Tensor> {
                  Tensor dx = at.gradient().clone();
                  dx.mutable_values<double>()[static_cast<std::size_t>(place)] *= factor;
                  return {dx};
                });
}

auto contains(const std::string& part) {
  return [part](const Error& error) {
    BOOST_TEST_MESSAGE(error.what());
    return std::string(error.what()).find(part) != std::string::npos;
  };
}

// Whether the message names an analytic value that is twice the numeric one.
bool names_both_values(const Error& error) {
  double analytic = 0, numeric = 0;
  const int read = std::sscanf(error.what(),
                               "gradcheck: doubled: input 0, element (0) of (1): analytic "
                               "gradient %lf, numeric %lf, they differ by",
                               &analytic, &numeric);
  return read == 2 && numeric != 0 && std::abs(analytic - 2 * numeric) < 1e-4 * std::abs(numeric);
}

}  // namespace
}  // namespace vla

// Outside the namespace, where a suite may have the name of the function.
using namespace vla;

BOOST_AUTO_TEST_SUITE(gradcheck)

BOOST_AUTO_TEST_CASE(the_worst_error_is_a_share_of_what_is_allowed) {
  const Tensor x = Rng(1).normal({3, 4}, DType::float64);
  const double right = vla::gradcheck("exp", [](const Vars& v) { return exp(v[0]); }, {x});
  BOOST_TEST(right > 0);
  BOOST_TEST(right < 1e-3);
  const auto nearly = [](const Vars& v) { return identity_with_slope(v[0], 0, 1 + 5e-4); };
  const double near =
      vla::gradcheck("nearly", nearly, {Tensor::full({1}, 2, DType::float64)}, {.absolute = 0});
  BOOST_TEST(near == 0.5, boost::test_tools::tolerance(0.01));
}

BOOST_AUTO_TEST_CASE(one_wrong_element_of_many_is_found) {
  const Tensor x = Rng(1).normal({5000}, DType::float64);
  BOOST_CHECK_EXCEPTION(
      vla::gradcheck("many", [](const Vars& v) { return identity_with_slope(v[0], 4321, 1.5); },
                     {x}),
      Error, contains("gradcheck: many: input 0, along random direction "));
}

BOOST_AUTO_TEST_CASE(both_values_are_named) {
  BOOST_CHECK_EXCEPTION(
      vla::gradcheck("doubled", [](const Vars& v) { return identity_with_slope(v[0], 0, 2); },
                     {Tensor::zeros({1}, DType::float64)}),
      Error, names_both_values);
}

BOOST_AUTO_TEST_CASE(the_element_is_named_by_its_place) {
  // Of six elements one is wrong: the second of the third row.
  const Tensor x = Rng(1).normal({3, 2}, DType::float64);
  const auto function = [](const Vars& v) { return identity_with_slope(v[0], 5, 2); };
  BOOST_CHECK_EXCEPTION(vla::gradcheck("one", function, {x}, {.directions = 0}), Error,
                        contains("gradcheck: one: input 0, element (2, 1) of (3, 2): analytic "));
  const auto scalar = [](const Vars& v) { return identity_with_slope(v[0], 0, 2); };
  BOOST_CHECK_EXCEPTION(
      vla::gradcheck("one", scalar, {Tensor::scalar(3, DType::float64)}, {.directions = 0}), Error,
      contains("gradcheck: one: input 0, its one element: analytic "));
}

BOOST_AUTO_TEST_CASE(a_difference_in_later_digits_is_told) {
  const auto function = [](const Vars& v) { return identity_with_slope(v[0], 0, 1 + 1e-7); };
  BOOST_CHECK_EXCEPTION(vla::gradcheck("close", function, {Tensor::full({1}, 2, DType::float64)},
                                       {.absolute = 1e-10, .relative = 1e-10}),
                        Error, contains(", they differ by "));
}

BOOST_AUTO_TEST_CASE(a_forgotten_input_is_found) {
  const Tensor x = Tensor::full({2}, 3, DType::float64);
  const auto forgets = [](const Vars& v) { return add(v[0], detach(v[1])); };
  BOOST_CHECK_EXCEPTION(vla::gradcheck("forgets", forgets, {x, x}), Error,
                        contains("gradcheck: forgets: input 1, element "));
  const auto constant = [](const Vars& v) { return detach(v[0]); };
  BOOST_CHECK_EXCEPTION(vla::gradcheck("constant", constant, {x}), Error,
                        contains("gradcheck: constant: input 0, element "));
}

BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_a_number_is_found) {
  const Tensor x = Rng(1).normal({50}, DType::float64);
  for (double factor :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const auto function = [=](const Vars& v) { return identity_with_slope(v[0], 7, factor); };
    BOOST_CHECK_THROW(vla::gradcheck("not a number", function, {x}), Error);
  }
}

BOOST_AUTO_TEST_CASE(size_0_and_integers_are_no_obstacle) {
  const auto function = [](const Vars& v) { return add(embedding(v[0], v[1].value()), v[2]); };
  const Tensor table = Rng(1).normal({3, 2}, DType::float64);
  const Tensor tokens = Tensor::from<std::int64_t>({2}, {1, 1});
  BOOST_CHECK_NO_THROW(
      vla::gradcheck("tokens", function, {table, tokens, Tensor::zeros({1}, DType::float64)}));
  BOOST_TEST(vla::gradcheck("empty", [](const Vars& v) { return exp(v[0]); },
                            {Tensor({0, 3}, DType::float64)}) == 0);
}

BOOST_AUTO_TEST_CASE(inputs_are_not_changed_and_no_outer_tape_records) {
  const Tensor x = Rng(1).normal({4}, DType::float64), before = x.clone();
  Tape outer;
  vla::gradcheck("exp", [](const Vars& v) { return exp(v[0]); }, {x});
  BOOST_TEST(outer.size() == 0u);
  BOOST_TEST(relative_difference(x, before) == 0);
}

BOOST_AUTO_TEST_CASE(wrong_types_are_refused) {
  const auto function = [](const Vars& v) { return exp(v[0]); };
  BOOST_CHECK_EXCEPTION(
      vla::gradcheck("exp", function, {Tensor::full({1}, 2, DType::float32)}), Error,
      says("gradcheck: exp: input 0 is float32(1) on cpu [2]; float64 (or integers, which are not "
           "checked)"));
  const auto narrow = [](const Vars& v) { return Var(v[0].value().to(DType::float32)); };
  BOOST_CHECK_EXCEPTION(vla::gradcheck("narrow", narrow, {Tensor::zeros({1}, DType::float64)}),
                        Error, says("gradcheck: narrow: output is float32; float64 is needed"));
}

BOOST_AUTO_TEST_SUITE_END()
