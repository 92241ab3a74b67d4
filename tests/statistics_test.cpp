// What the elements of a tensor are like: with zeros, NaN and infinities among them, or none at
// all.
#include "framework/statistics.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/error_of.hpp"
#include "tests/special_values.hpp"

// Outside the namespace, where a suite may have the name of the function.
using namespace vla;

BOOST_AUTO_TEST_SUITE(statistics)

BOOST_AUTO_TEST_CASE(what_is_not_finite_is_counted_and_left_out) {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    const Statistics mixed = vla::statistics(row({-3, 0, kNaN, 4, kInf, -kInf}, dtype));
    BOOST_TEST(mixed.elements == 6);
    BOOST_TEST(mixed.smallest == -3);
    BOOST_TEST(mixed.largest == 4);
    BOOST_TEST(mixed.magnitude() == 4);
    BOOST_TEST(mixed.norm == 5);
    BOOST_TEST(mixed.mean == 1.0 / 3);
    BOOST_TEST(mixed.zeros == 1);
    BOOST_TEST(mixed.nan == 1);
    BOOST_TEST(mixed.infinite == 2);
    BOOST_TEST(concatenate(mixed) == "from -3 to 4, 1 NaN, 2 Inf");
  }
  BOOST_TEST(vla::statistics(row({-5, -7})).magnitude() == 7);
}

BOOST_AUTO_TEST_CASE(nothing_finite) {
  const Statistics none = vla::statistics(row({kNaN, kNaN}));
  BOOST_TEST(none.not_finite() == 2);
  BOOST_TEST(none.smallest == 0);
  BOOST_TEST(none.largest == 0);
  BOOST_TEST(none.mean == 0);
  BOOST_TEST(none.norm == 0);
  BOOST_TEST(concatenate(none) == "nothing finite, 2 NaN");
  const Statistics empty = vla::statistics(Tensor::zeros({3, 0}, DType::float32));
  BOOST_TEST(empty.elements == 0);
  BOOST_TEST(empty.mean == 0);
  BOOST_TEST(concatenate(empty) == "no elements");
}

BOOST_AUTO_TEST_CASE(whether_all_are_finite) {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    BOOST_TEST(all_finite(row({}, dtype)));
    BOOST_TEST(all_finite(row({-3, 0, 4}, dtype)));
    BOOST_TEST(!all_finite(row({-3, kNaN, 4}, dtype)));
    BOOST_TEST(!all_finite(row({-3, 0, -kInf}, dtype)));
  }
  BOOST_TEST(all_finite(row({1e308, 1e308})));  // whose sum and squares are not
  BOOST_TEST(all_finite(Tensor::zeros({2}, DType::int64)));
}

BOOST_AUTO_TEST_CASE(decades_have_what_is_beyond_them_at_their_ends) {
  const std::vector<Index> decades = decades_of(row({0, 1e-30, 0.5, -5, 10, 1e9, kNaN}), -1, 3);
  BOOST_TEST(decades == (std::vector<Index>{2, 1, 2}), boost::test_tools::per_element());
  BOOST_TEST(decades_of(row({}), -1, 1) == std::vector<Index>{0}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_has_no_statistics_is_refused) {
  const Tensor integers = Tensor::zeros({2}, DType::int64);
  BOOST_TEST(error_of([&] { vla::statistics(integers); }) ==
             "statistics: element type int64 is not allowed; a floating one");
  BOOST_TEST(error_of([&] { decades_of(integers, 0, 1); }) ==
             "decades: element type int64 is not allowed; a floating one");
  BOOST_TEST(error_of([&] { decades_of(row({1}), 0, 0); }) ==
             "decades: 0 is not allowed; 1 or more");
}

BOOST_AUTO_TEST_SUITE_END()
