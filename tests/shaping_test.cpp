// Ops that move elements: where each one goes, and what is refused.

#include "framework/ops/shaping.hpp"

#include <cmath>
#include <limits>

#include "tests/compare.hpp"

namespace vla {
namespace {

Tensor counting(const Shape& shape, DType dtype = DType::float64, double first = 0) {
  Tensor result(shape, DType::float64);
  for (double& value : result.mutable_values<double>()) value = first++;
  return result.to(dtype);
}

std::vector<double> values_of(const Var& x) {
  const Tensor wide = x.value().to(DType::float64);
  return {wide.values<double>().begin(), wide.values<double>().end()};
}

using Values = std::vector<double>;

}  // namespace

BOOST_AUTO_TEST_SUITE(shaping)

BOOST_AUTO_TEST_CASE(cast_changes_the_type_and_casts_the_gradient_back) {
  const Var x = Var::parameter(Tensor::from<double>({2}, {0.1, 3}));
  Tape tape;
  const Var narrow = cast(x, DType::float32);
  BOOST_TEST(narrow.dtype() == DType::float32);
  BOOST_TEST(narrow.value().at<float>({0}) == 0.1f);
  const Gradients gradients = tape.backward(narrow, Tensor::from<float>({2}, {0.1f, 2}));
  BOOST_TEST(gradients[x].at<double>({0}) == double(0.1f));
  BOOST_TEST(gradients[x].at<double>({1}) == 2.0);
  BOOST_TEST(cast(x, DType::float64).identity() == x.identity());
  BOOST_CHECK_EXCEPTION(cast(Var(Tensor::zeros({1}, DType::int64)), DType::float32), Error,
                        says("cast: from int64 to float32 is not allowed; float32 or float64"));
}

BOOST_AUTO_TEST_CASE(reshape_copies_nothing) {
  const Var x(counting({2, 3}));
  const Var y = reshape(x, {3, -1});
  BOOST_TEST(y.shape() == (Shape{3, 2}));
  BOOST_TEST(y.value().shares_storage(x.value()));
  BOOST_CHECK_EXCEPTION(reshape(x, {4, 2}), Error,
                        says("reshape: (2, 3) has 6 elements, (4, 2) has 8"));
}

BOOST_AUTO_TEST_CASE(permute_moves_every_axis) {
  // Sizes large enough for several threads, with and without the last axis in place.
  const Tensor x = counting({9, 8, 7, 33});
  for (const std::vector<int>& axes :
       {std::vector<int>{0, 2, 1, 3}, {3, 1, 0, 2}, {2, 3, 1, 0}, {1, 0, 2, 3}, {0, 1, 3, 2}}) {
    const Tensor y = permute(x, axes).value();
    bool right = true;
    std::vector<Index> index(4);
    Index place = 0;
    for (index[0] = 0; index[0] < y.size(0); ++index[0])
      for (index[1] = 0; index[1] < y.size(1); ++index[1])
        for (index[2] = 0; index[2] < y.size(2); ++index[2])
          for (index[3] = 0; index[3] < y.size(3); ++index[3]) {
            std::vector<Index> from(4);
            for (std::size_t i = 0; i < 4; ++i) from[static_cast<std::size_t>(axes[i])] = index[i];
            right &= y.values<double>()[static_cast<std::size_t>(place++)] ==
                     x.at<double>({from[0], from[1], from[2], from[3]});
          }
    BOOST_TEST(right, "axes " << axes[0] << axes[1] << axes[2] << axes[3]);
  }
}

BOOST_AUTO_TEST_CASE(every_element_type_moves) {
  for (DType dtype : {DType::float32, DType::float64, DType::int64, DType::uint8}) {
    const Var x(counting({2, 3}, dtype));
    BOOST_TEST_CONTEXT(dtype) {
      BOOST_TEST(values_of(permute(x, {1, 0})) == (Values{0, 3, 1, 4, 2, 5}));
      BOOST_TEST(values_of(slice(x, 1, 1, 3)) == (Values{1, 2, 4, 5}));
      BOOST_TEST(values_of(concat({x, x}, 1)) == (Values{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}));
      BOOST_TEST(values_of(stack({x, x}, -1)) == (Values{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}));
      BOOST_TEST(permute(x, {1, 0}).dtype() == dtype);
    }
  }
}

BOOST_AUTO_TEST_CASE(copies_do_not_share_storage) {
  const Var x(counting({2, 3}));
  for (const Var& y : {permute(x, {0, 1}), slice(x, 0, 0, 2), concat({x}, 0), stack({x}, 0)})
    BOOST_TEST(!y.value().shares_storage(x.value()));
  const Var scalar(Tensor::scalar(3, DType::float32));
  BOOST_TEST(!permute(scalar, {}).value().shares_storage(scalar.value()));
}

BOOST_AUTO_TEST_CASE(size_0_moves) {
  const Var empty(Tensor({2, 0, 3}, DType::float32));
  BOOST_TEST(permute(empty, {2, 0, 1}).shape() == (Shape{3, 2, 0}));
  BOOST_TEST(slice(empty, 1, 0, 0).shape() == (Shape{2, 0, 3}));
  BOOST_TEST(slice(empty, 0, 1, 1).shape() == (Shape{0, 0, 3}));
  BOOST_TEST(concat({empty, Tensor::zeros({2, 4, 3}, DType::float32)}, 1).shape() ==
             (Shape{2, 4, 3}));
  BOOST_TEST(stack({empty, empty}, 0).shape() == (Shape{2, 2, 0, 3}));
  BOOST_TEST(causal_mask(Tensor({2, 0, 0}, DType::float32)).shape() == (Shape{2, 0, 0}));
}

BOOST_AUTO_TEST_CASE(the_future_is_masked) {
  const double masked = -std::numeric_limits<double>::infinity();
  BOOST_TEST(values_of(causal_mask(counting({2, 2, 2}))) ==
             (Values{0, masked, 2, 3, 4, masked, 6, 7}));
  const Var wide = causal_mask(Tensor::zeros({3, 70, 70}, DType::float32));
  for (Index t = 0; t < 70; ++t)
    for (Index i = 0; i < 70; ++i)
      BOOST_REQUIRE_EQUAL(std::isinf(wide.value().at<float>({2, t, i})), i > t);
}

BOOST_AUTO_TEST_CASE(masked_scores_get_no_gradient) {
  const Var x = Var::parameter(counting({2, 2}));
  Tape tape;
  const Gradients g = tape.backward(causal_mask(x), counting({2, 2}, DType::float64, 1));
  BOOST_TEST(values_of(g[x]) == (Values{1, 0, 3, 4}));
}

BOOST_AUTO_TEST_CASE(wrong_permutations_and_slices_are_refused) {
  const Var x(counting({2, 3}));
  BOOST_CHECK_EXCEPTION(permute(x, {0}), Error,
                        says("permute: 1 axes for shape (2, 3); 2 are needed"));
  BOOST_CHECK_EXCEPTION(permute(x, {0, -2}), Error,
                        says("permute: axis -2 of shape (2, 3) is named twice"));
  BOOST_CHECK_EXCEPTION(permute(x, {0, 2}), Error,
                        says("permute: axis 2 of shape (2, 3) is out of range; allowed: -2 to 1"));
  BOOST_CHECK_EXCEPTION(slice(x, 2, 0, 1), Error,
                        says("slice: axis 2 of shape (2, 3) is out of range; allowed: -2 to 1"));
  BOOST_CHECK_EXCEPTION(slice(x, 1, 1, 4), Error,
                        says("slice: 1 to 4 on axis 1 of shape (2, 3); 0 <= begin <= end <= 3"));
  BOOST_CHECK_EXCEPTION(slice(x, 1, 2, 1), Error,
                        says("slice: 2 to 1 on axis 1 of shape (2, 3); 0 <= begin <= end <= 3"));
  BOOST_CHECK_EXCEPTION(slice(x, 1, -1, 1), Error,
                        says("slice: -1 to 1 on axis 1 of shape (2, 3); 0 <= begin <= end <= 3"));
}

BOOST_AUTO_TEST_CASE(parts_that_do_not_fit_are_refused) {
  const Var x(counting({2, 3}));
  BOOST_CHECK_EXCEPTION(concat({}, 0), Error, says("concat: no parts; 1 or more are needed"));
  BOOST_CHECK_EXCEPTION(concat({x, counting({2, 4})}, 0), Error,
                        says("concat: part 1 has shape (2, 4), part 0 (2, 3); only axis 0 may "
                             "differ"));
  BOOST_CHECK_EXCEPTION(
      concat({x, counting({3})}, 1), Error,
      says("concat: part 1 has shape (3), part 0 (2, 3); only axis 1 may differ"));
  BOOST_CHECK_EXCEPTION(concat({x, counting({2, 3}, DType::float32)}, 0), Error,
                        says("concat: part 1 is float32 on cpu, part 0 is float64 on cpu"));
  BOOST_CHECK_EXCEPTION(concat({x, x}, 2), Error,
                        says("concat: axis 2 of shape (2, 3) is out of range; allowed: -2 to 1"));
  BOOST_CHECK_EXCEPTION(stack({x, counting({3, 2})}, 0), Error,
                        says("stack: part 1 has shape (3, 2), part 0 (2, 3); all must be equal"));
  BOOST_CHECK_EXCEPTION(
      stack({x}, 3), Error,
      says("stack: new axis 3 for parts of shape (2, 3) is out of range; allowed: "
           "-3 to 2"));
  BOOST_CHECK_EXCEPTION(causal_mask(x), Error,
                        says("causal_mask: scores have shape (2, 3); (..., T, T) is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
