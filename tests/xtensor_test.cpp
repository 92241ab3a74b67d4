// The bridge between tensors and xtensor.

#include "framework/ops/xtensor.hpp"

#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(xtensor)

BOOST_AUTO_TEST_CASE(an_expression_becomes_a_tensor_of_its_shape_and_type) {
  const xt::xarray<float> x = {{1, 2, 3}, {4, 5, 6}};
  const Tensor y = tensor_of(2.0f * xt::transpose(x));
  BOOST_TEST(y.shape() == Shape({3, 2}));
  BOOST_TEST((y.dtype() == DType::float32));
  const std::vector<float> wanted = {2, 8, 4, 10, 6, 12};
  BOOST_TEST(std::ranges::equal(y.values<float>(), wanted));
}

BOOST_AUTO_TEST_CASE(sizes_0_and_scalars) {
  const xt::xarray<double> none = xt::zeros<double>({0, 3});
  BOOST_TEST(tensor_of(none).shape() == Shape({0, 3}));
  const xt::xarray<double> one = 4.0;
  BOOST_TEST(tensor_of(one).shape() == Shape({}));
  BOOST_TEST(tensor_of(one).item() == 4);
}

BOOST_AUTO_TEST_CASE(a_tensor_is_read_and_written_in_place) {
  Tensor x = Tensor::from(Shape{2, 2}, std::vector<double>{1, 2, 3, 4});
  auto view = as_mutable_xtensor<double>(x);
  view = view * 10.0;
  BOOST_TEST(x.at<double>({1, 0}) == 30);
  BOOST_TEST(xt::sum(as_xtensor<double>(x))() == 100);
  BOOST_TEST(error_of([&] { as_xtensor<float>(x); }) != "");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
