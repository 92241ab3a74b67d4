// Broadcasting arithmetic against a walk over every index, and what is refused.

#include "framework/ops/arithmetic.hpp"

#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

// The element of x that broadcasting puts at row-major place `place` of `shape`.
double broadcast_element(const Tensor& x, const Shape& shape, Index place) {
  Index offset = 0, stride = 1;
  for (int axis = -1; axis >= -shape.rank(); --axis) {
    const Index index = place % shape[axis];
    place /= shape[axis];
    if (-axis > x.rank()) continue;
    if (x.size(axis) > 1) offset += index * stride;
    stride *= x.size(axis);
  }
  return x.values<double>()[static_cast<std::size_t>(offset)];
}

template <class Function>
Tensor reference(const Tensor& a, const Tensor& b, const Shape& shape, Function function) {
  Tensor result(shape, DType::float64);
  for (Index i = 0; i < shape.elements(); ++i)
    result.mutable_values<double>()[static_cast<std::size_t>(i)] =
        function(broadcast_element(a, shape, i), broadcast_element(b, shape, i));
  return result;
}

// Every shape whose axes are 1 or those of (2, 3, 2), of any rank: all ways to broadcast there are.
std::vector<Shape> all_shapes() {
  std::vector<Shape> shapes = {Shape{}};
  for (Index c : {1, 2}) {
    shapes.push_back({c});
    for (Index b : {1, 3}) {
      shapes.push_back({b, c});
      for (Index a : {1, 2}) shapes.push_back({a, b, c});
    }
  }
  return shapes;
}

Var zeros(const Shape& shape, DType dtype = DType::float32) { return Tensor::zeros(shape, dtype); }

}  // namespace

BOOST_AUTO_TEST_SUITE(arithmetic)

BOOST_AUTO_TEST_CASE(every_pair_of_shapes) {
  Rng rng(1);
  for (const Shape& left : all_shapes())
    for (const Shape& right : all_shapes()) {
      const Shape shape = broadcast_shape("test", left, right);
      const Tensor a = rng.normal(left, DType::float64);
      const Tensor b = rng.uniform(right, DType::float64, 1, 2);
      BOOST_TEST_CONTEXT(left << " and " << right) {
        check_close(add(a, b).value(), reference(a, b, shape, std::plus<>()), 0);
        check_close(sub(a, b).value(), reference(a, b, shape, std::minus<>()), 0);
        check_close(mul(a, b).value(), reference(a, b, shape, std::multiplies<>()), 0);
        check_close(div(a, b).value(), reference(a, b, shape, std::divides<>()), 0);
        check_close(broadcast_to(a, shape),
                    reference(a, b, shape, [](double x, double) { return x; }), 0);
      }
    }
}

BOOST_AUTO_TEST_CASE(large_shapes_on_several_threads) {
  const int before = thread_count();
  set_thread_count(2);  // ranges begin in the middle of a row
  Rng rng(2);
  const Shape shape{301, 7, 33};
  const Tensor a = rng.normal(shape, DType::float64);
  for (const Shape& other : {shape, Shape{33}, Shape{7, 33}, Shape{301, 7, 1}, Shape{301, 1, 1},
                             Shape{}, Shape{7, 1}, Shape{301, 1, 33}}) {
    const Tensor b = rng.normal(other, DType::float64);
    BOOST_TEST_CONTEXT(other) {
      check_close(sub(a, b).value(), reference(a, b, shape, std::minus<>()), 0);
      check_close(sub(b, a).value(), reference(b, a, shape, std::minus<>()), 0);
      check_close(broadcast_to(b, shape),
                  reference(a, b, shape, [](double, double y) { return y; }), 0);
    }
  }
  set_thread_count(before);
}

BOOST_AUTO_TEST_CASE(size_0_broadcasts_like_any_other) {
  BOOST_TEST(add(zeros({0, 3}), zeros({3})).shape() == (Shape{0, 3}));
  BOOST_TEST(add(zeros({2, 1}), zeros({0})).shape() == (Shape{2, 0}));
  BOOST_TEST(add(zeros({0}), zeros({})).shape() == (Shape{0}));
  BOOST_CHECK_EXCEPTION(add(zeros({0}), zeros({2})), Error,
                        says("add: shapes (0) and (2) do not broadcast: 0 and 2 on axis -1; sizes "
                             "must be equal or 1"));
}

BOOST_AUTO_TEST_CASE(where_selects) {
  const Tensor condition = Tensor::from<std::uint8_t>({2, 1}, {0, 255});
  const Tensor a = Tensor::from<double>({3}, {1, 2, 3});
  const Var y = where(condition, a, Tensor::scalar(9, DType::float64));
  const std::vector<double> expected = {9, 9, 9, 1, 2, 3};
  BOOST_TEST(y.value().values<double>() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(where_keeps_what_is_not_chosen_out) {
  const double nan = std::nan("");
  const Tensor condition = Tensor::from<std::uint8_t>({2}, {1, 0});
  const Var a = Var::parameter(Tensor::from<double>({2}, {1, nan}));
  const Var b = Var::parameter(Tensor::from<double>({2}, {nan, 2}));
  Tape tape;
  const Gradients g = tape.backward(where(condition, a, b), Tensor::from<double>({2}, {3, 4}));
  BOOST_TEST(g[a].values<double>() == (std::vector<double>{3, 0}),
             boost::test_tools::per_element());
  BOOST_TEST(g[b].values<double>() == (std::vector<double>{0, 4}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(division_by_tiny_numbers_has_a_finite_gradient) {
  const Var a = Var::parameter(Tensor::scalar(1e-30, DType::float32));
  const Var b = Var::parameter(Tensor::scalar(1e-30, DType::float32));
  Tape tape;  // b squared is 0 in float32
  const Gradients g = tape.backward(div(a, b));
  BOOST_TEST(g[a].item() == 1e30, boost::test_tools::tolerance(1e-6));
  BOOST_TEST(g[b].item() == -1e30, boost::test_tools::tolerance(1e-6));
}

BOOST_AUTO_TEST_CASE(a_product_keeps_only_what_its_gradient_needs) {
  const Var w = Var::parameter(Tensor::zeros({100}, DType::float64));
  const Var constant(Tensor::zeros({100}, DType::float64));
  Tape tape;
  mul(w, constant);
  BOOST_TEST(tape.saved_bytes() == 800u);
  add(w, constant);
  BOOST_TEST(tape.saved_bytes() == 800u);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  BOOST_CHECK_EXCEPTION(mul(zeros({2, 3}), zeros({4})), Error,
                        says("mul: shapes (2, 3) and (4) do not broadcast: 3 and 4 on axis -1; "
                             "sizes must be equal or 1"));
  BOOST_CHECK_EXCEPTION(sub(zeros({2}), zeros({2}, DType::float64)), Error,
                        says("sub: inputs are float32 and float64; one element type is needed"));
  BOOST_CHECK_EXCEPTION(div(zeros({2}, DType::int64), zeros({2}, DType::int64)), Error,
                        says("div: element type int64 is not allowed; float32 or float64"));
  BOOST_CHECK_EXCEPTION(scale(zeros({2}, DType::uint8), 2), Error,
                        says("scale: element type uint8 is not allowed; float32 or float64"));
  BOOST_CHECK_EXCEPTION(where(Tensor::zeros({2}, DType::int64), zeros({2}), zeros({2})), Error,
                        says("where: the condition is int64(2) on cpu [0, 0]; uint8 is needed"));
  BOOST_CHECK_EXCEPTION(where(Tensor::zeros({3}, DType::uint8), zeros({2}), zeros({2})), Error,
                        says("where: shapes (3) and (2) do not broadcast: 3 and 2 on axis -1; "
                             "sizes must be equal or 1"));
  BOOST_CHECK_EXCEPTION(broadcast_to(Tensor::zeros({2}, DType::float32), {1}), Error,
                        says("broadcast_to: shape (2) does not repeat to (1)"));
  BOOST_CHECK_EXCEPTION(add(Var(), zeros({2})), Error,
                        says("use of a variable that is not defined"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
