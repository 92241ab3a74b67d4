// Shapes, tensors and the storage behind them.

#include "framework/tensor.hpp"

#include "tests/compare.hpp"

namespace vla {
namespace {

Tensor counting(const Shape& shape) {
  Tensor result(shape, DType::float32);
  float next = 0;
  for (float& value : result.mutable_values<float>()) value = next++;
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tensor)

BOOST_AUTO_TEST_CASE(shapes) {
  const Shape shape{2, 3, 5};
  BOOST_TEST(shape.rank() == 3);
  BOOST_TEST(shape.elements() == 30);
  BOOST_TEST(shape[-1] == 5);
  BOOST_TEST(shape[0] == 2);
  BOOST_TEST(shape.with(-2, 7) == (Shape{2, 7, 5}));
  BOOST_TEST(shape.without(0) == (Shape{3, 5}));
  BOOST_TEST(shape.inserted(-1, 4) == (Shape{2, 3, 5, 4}));
  BOOST_TEST(shape.inserted(0, 4) == (Shape{4, 2, 3, 5}));
  BOOST_TEST(Shape().elements() == 1);
  BOOST_TEST((Shape{3, 0}).elements() == 0);
  BOOST_TEST(concatenate(shape, Shape{}, Shape{4}) == "(2, 3, 5)()(4)");
}

BOOST_AUTO_TEST_CASE(impossible_shapes_are_refused) {
  const Shape shape{2, 3};
  BOOST_CHECK_EXCEPTION(shape[2], Error,
                        says("axis 2 of shape (2, 3) is out of range; allowed: -2 to 1"));
  BOOST_CHECK_EXCEPTION(shape[-3], Error,
                        says("axis -3 of shape (2, 3) is out of range; allowed: -2 to 1"));
  BOOST_CHECK_EXCEPTION((Shape{2, -1}), Error,
                        says("shape (2, -1): a size is negative; 0 or more is allowed"));
  BOOST_CHECK_EXCEPTION((Shape{Index{1} << 40, Index{1} << 40}), Error,
                        says("shape (1099511627776, 1099511627776): too many elements to count in "
                             "64 bits"));
  BOOST_CHECK_EXCEPTION(Tensor(Shape{Index{1} << 62}, DType::float64), Error,
                        says("tensor: shape (4611686018427387904) of float64 has too many bytes"));
}

BOOST_AUTO_TEST_CASE(values_and_access) {
  const Tensor x = counting({2, 3});
  BOOST_TEST(x.at<float>({1, 2}) == 5);
  BOOST_TEST(x.bytes() == 24u);
  BOOST_CHECK_EXCEPTION(x.at<float>({2, 0}), Error,
                        says("at: index 2 on axis 0 of shape (2, 3) is out of range"));
  BOOST_CHECK_EXCEPTION(x.at<float>({1}), Error, says("at: 1 indices for shape (2, 3)"));
  BOOST_CHECK_EXCEPTION(x.data<double>(), Error, says("access as float64 to a tensor of float32"));
  BOOST_CHECK_EXCEPTION(Tensor().data<float>(), Error,
                        says("access to a tensor that is not defined"));
  BOOST_CHECK_EXCEPTION(x.item(), Error, says("item: shape (2, 3) has 6 elements; 1 is needed"));
  BOOST_TEST(Tensor::full({1, 1}, 2.5, DType::float32).item() == 2.5);
  BOOST_CHECK_EXCEPTION(Tensor::from<float>({2}, {1, 2, 3}), Error,
                        says("tensor: 3 values do not fill shape (2)"));
}

BOOST_AUTO_TEST_CASE(types) {
  for (DType dtype : {DType::float32, DType::float64, DType::int64, DType::uint8})
    BOOST_TEST(parse_dtype(concatenate(dtype)) == dtype);
  BOOST_CHECK_EXCEPTION(
      parse_dtype("half"), Error,
      says("unknown element type 'half'; allowed: float32, float64, int64, uint8"));
  const Tensor x = Tensor::from<double>({3}, {1.75, -2, 300});
  const std::vector<std::int64_t> whole = {1, -2, 300};
  BOOST_TEST(x.to(DType::int64).values<std::int64_t>() == whole, boost::test_tools::per_element());
  BOOST_TEST(x.to(DType::float64).shares_storage(x));
  const auto none = [](auto) {};
  BOOST_CHECK_EXCEPTION(dispatch_floating(DType::int64, "exp", none), Error,
                        says("exp: element type int64 is not allowed; float32 or float64"));
}

BOOST_AUTO_TEST_CASE(reshape_shares_and_clone_copies) {
  Tensor x = counting({2, 3});
  const Tensor view = x.reshape({3, -1}), copy = x.clone();
  BOOST_TEST(view.shape() == (Shape{3, 2}));
  BOOST_TEST(view.shares_storage(x));
  BOOST_TEST(!copy.shares_storage(x));
  x.mutable_data<float>()[5] = 70;
  BOOST_TEST(view.at<float>({2, 1}) == 70);
  BOOST_TEST(copy.at<float>({1, 2}) == 5);
  BOOST_CHECK_EXCEPTION(x.reshape({4, -1}), Error,
                        says("reshape: 6 elements do not divide into (4, 1) and a rest"));
  BOOST_CHECK_EXCEPTION(x.reshape({4}), Error, says("reshape: (2, 3) has 6 elements, (4) has 4"));
}

BOOST_AUTO_TEST_CASE(versions_rise_with_every_way_to_write) {
  Tensor x = counting({3});
  const Tensor other = counting({3}), view = x.reshape({3, 1});
  std::uint64_t last = view.version();
  const auto rose = [&] { return std::exchange(last, view.version()) < view.version(); };
  x.values<float>();
  BOOST_TEST(!rose());
  x.mutable_data<float>();
  BOOST_TEST(rose());
  x.mutable_values<float>();
  BOOST_TEST(rose());
  x.fill(1);
  BOOST_TEST(rose());
  x.copy_from(other);
  BOOST_TEST(rose());
  x.accumulate(other);
  BOOST_TEST(rose());
  BOOST_TEST(x.at<float>({2}) == 4);
}

BOOST_AUTO_TEST_CASE(copies_and_sums_need_equal_tensors) {
  Tensor x = counting({3});
  BOOST_CHECK_EXCEPTION(x.copy_from(counting({2})), Error,
                        says("copy: source is float32(2), target is float32(3)"));
  BOOST_CHECK_EXCEPTION(x.accumulate(x.to(DType::float64)), Error,
                        says("accumulate: float64(3) into float32(3)"));
  Tensor scalar = Tensor::scalar(1, DType::float32), none;
  BOOST_CHECK_EXCEPTION(scalar.copy_from(none), Error, says("copy: the source is not defined"));
  BOOST_CHECK_EXCEPTION(none.copy_from(scalar), Error, says("copy: the target is not defined"));
  BOOST_CHECK_EXCEPTION(none.clone(), Error, says("clone: the tensor is not defined"));
  Tensor tokens = Tensor::zeros({2}, DType::int64);
  BOOST_CHECK_EXCEPTION(tokens.accumulate(tokens), Error,
                        says("accumulate: element type int64 is not allowed; float32 or float64"));
}

BOOST_AUTO_TEST_CASE(tensors_like_another) {
  for (DType dtype : {DType::float32, DType::int64}) {
    const Tensor x = Tensor::full({2, 3}, 7, dtype), zeros = zeros_like(x);
    for (const Tensor& like : {empty_like(x), zeros}) {
      BOOST_TEST(like.shape() == x.shape());
      BOOST_TEST(like.dtype() == dtype);
      BOOST_TEST((like.device() == x.device()));
      BOOST_TEST(!like.shares_storage(x));
    }
    for (double value : zeros.to(DType::float64).values<double>()) BOOST_TEST(value == 0);
  }
  BOOST_TEST(!zeros_like(Tensor()).defined());
  BOOST_CHECK_EXCEPTION(empty_like(Tensor()), Error, says("empty_like: the tensor is not defined"));
}

BOOST_AUTO_TEST_CASE(freed_storage_is_used_again) {
  release_cached_memory();
  const void* first = nullptr;
  {
    const Tensor x({1000}, DType::float32);
    first = x.data<float>();
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(first) % 64 == 0u);
  }
#ifndef __SANITIZE_ADDRESS__
  BOOST_TEST(memory_statistics().cached >= 4000u);
  const Tensor again({1001}, DType::float32);  // of the same size class
  BOOST_TEST(again.data<float>() == first);
#endif
  release_cached_memory();
  BOOST_TEST(memory_statistics().cached == 0u);
}

BOOST_AUTO_TEST_CASE(live_and_peak_memory_are_counted) {
  reset_peak_memory();
  const std::size_t before = memory_statistics().live;
  {
    const Tensor x({1 << 18}, DType::float32), y({1 << 18}, DType::float32);
    BOOST_TEST(memory_statistics().live == before + (2u << 20));
  }
  BOOST_TEST(memory_statistics().live == before);
  BOOST_TEST(memory_statistics().peak == before + (2u << 20));
}

BOOST_AUTO_TEST_CASE(devices) {
  BOOST_TEST(parse_device("cpu").is_cpu());
  BOOST_CHECK_EXCEPTION(parse_device("tpu"), Error, says("unknown device 'tpu'; allowed: cpu"));
  BOOST_TEST(concatenate(Device{Device::Kind::cuda, 1}) == "cuda:1");
}

BOOST_AUTO_TEST_CASE(tensors_print_for_people) {
  BOOST_TEST(concatenate(counting({2, 5})) == "float32(2, 5) on cpu [0, 1, 2, 3, 4, 5, 6, 7, ...]");
  BOOST_TEST(concatenate(Tensor::full({2}, 7, DType::uint8)) == "uint8(2) on cpu [7, 7]");
  BOOST_TEST(concatenate(Tensor()) == "tensor(undefined)");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
