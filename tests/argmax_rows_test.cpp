// The largest element of each row, with rows that have none, equal ones and NaN.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "framework/ops/argmax.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

std::vector<Index> places(const Tensor& x) {
  const Tensor result = argmax(x);
  const auto values = result.values<Index>();
  return {values.begin(), values.end()};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(argmax_rows)

BOOST_AUTO_TEST_CASE(the_first_of_the_largest_and_never_nan) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const Tensor x =
      Tensor::from<float>({6, 3}, {1, 3, 2, 5, 5, 5, nan, -7, nan, nan, nan, nan, -infinity,
                                   -infinity, -infinity, -1, infinity, infinity});
  const std::vector<Index> expected = {1, 0, 1, -1, -1, 1};
  for (const DType dtype : {DType::float32, DType::float64})
    BOOST_TEST(places(x.to(dtype)) == expected, boost::test_tools::per_element());
  BOOST_TEST(argmax(x.reshape({2, 3, 3})).shape() == Shape({2, 3}));
  BOOST_TEST(places(Tensor({2, 0}, DType::float32)) == std::vector<Index>({-1, -1}),
             boost::test_tools::per_element());
  BOOST_TEST(argmax(Tensor({0, 4}, DType::float32)).elements() == 0);
}

BOOST_AUTO_TEST_CASE(what_has_no_largest_element_is_refused) {
  BOOST_TEST(error_of([] {
               argmax(Tensor::full({}, 1, DType::float32));
             }).starts_with("argmax: a scalar has no last axis"));
  BOOST_TEST(error_of([] { argmax(Tensor::zeros({2, 2}, DType::int64)); }).starts_with("argmax"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
