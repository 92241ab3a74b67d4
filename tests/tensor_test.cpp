// Shapes, tensors and the storage behind them.

#include "framework/tensor.hpp"

#include "framework/ops/pointwise.hpp"
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
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::int64, DType::uint8})
    BOOST_TEST(parse_dtype(concatenate(dtype)) == dtype);
  BOOST_CHECK_EXCEPTION(
      parse_dtype("half"), Error,
      says("unknown element type 'half'; allowed: float32, float64, bfloat16, int64, uint8"));
  const Tensor x = Tensor::from<double>({3}, {1.75, -2, 300});
  const std::vector<std::int64_t> whole = {1, -2, 300};
  BOOST_TEST(x.to(DType::int64).values<std::int64_t>() == whole, boost::test_tools::per_element());
  BOOST_TEST(x.to(DType::float64).shares_storage(x));
  const auto none = [](auto) {};
  BOOST_CHECK_EXCEPTION(dispatch_floating(DType::int64, "exp", none), Error,
                        says("exp: element type int64 is not allowed; float32 or float64"));
}

// A bfloat16 is the upper half of a float32, rounded to the nearest, ties to even.
BOOST_AUTO_TEST_CASE(bfloat16_is_stored_and_converted) {
  const double step = 0x1p-7;  // between neighbours from 1 to 2
  const std::vector<std::pair<double, double>> rounded = {
      {0, 0},
      {-1.5, -1.5},
      {1 + step / 2, 1},               // half way: to the even
      {1 + 1.5 * step, 1 + 2 * step},  //
      {1 + 0.51 * step, 1 + step},     //
      {3.4e38, INFINITY},              // above the largest
      {1e-40, 0x1p-133},               // below the normal numbers: the smallest of all
      {-INFINITY, -INFINITY}};
  for (const auto& [value, expected] : rounded) {
    const Tensor narrow = Tensor::full({1}, value, DType::float32).to(DType::bfloat16);
    BOOST_TEST(narrow.bytes() == 2u);
    const double back = narrow.to(DType::float64).values<double>()[0];
    BOOST_TEST((back == expected || std::abs(back - expected) < 1e-45), value << " gave " << back);
  }
  BOOST_TEST(std::isnan(Tensor::full({}, NAN, DType::bfloat16).item()));
  BOOST_TEST(concatenate(Tensor::full({2}, 0.5, DType::bfloat16)) ==
             "bfloat16(2) on cpu [0.5, 0.5]");
  const Var x(Tensor::full({2}, 0.5, DType::bfloat16));
  BOOST_CHECK_EXCEPTION(exp(x), Error,
                        says("exp: element type bfloat16 is not allowed; float32 or float64"));
}

BOOST_AUTO_TEST_CASE(a_range_counts) {
  const std::vector<Index> expected = {-1, 0, 1};
  BOOST_TEST(Tensor::range(-1, 2).values<Index>() == expected, boost::test_tools::per_element());
  BOOST_TEST(Tensor::range(2, 2).elements() == 0);
  BOOST_CHECK_EXCEPTION(Tensor::range(2, 1), Error,
                        says("range: 2 to 1; the end must not be before the beginning"));
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
    const Tensor wide = zeros.to(DType::float64);
    for (double value : wide.values<double>()) BOOST_TEST(value == 0);
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

BOOST_AUTO_TEST_CASE(a_shortage_of_memory_is_an_error_to_recover_from) {
  const Tensor kept = Tensor::zeros({1000}, DType::float32);
  reset_peak_memory();
  const std::size_t live = memory_statistics().live;
  limit_memory(live + 5000);
  try {
    Tensor large({4000}, DType::float32);
    BOOST_ERROR("a tensor beyond the limit was made");
  } catch (const OutOfMemory& error) {
    BOOST_TEST(error.requested == 16384u);
    BOOST_TEST(error.live == live);
    BOOST_TEST(error.peak == live);
    BOOST_REQUIRE(!error.largest.empty());
    const std::string expected =
        concatenate("out of memory on cpu: 16384 bytes requested, ", live, " in use by tensors, ",
                    live, " at the peak; the largest tensors hold ", error.largest.front());
    BOOST_TEST(std::string(error.what()).starts_with(expected), error.what());
  }
  BOOST_TEST(Tensor::zeros({1000}, DType::float32).elements() == 1000);
  limit_memory(0);
  BOOST_TEST(Tensor({4000}, DType::float32).elements() == 4000);
}

BOOST_AUTO_TEST_CASE(devices) {
  BOOST_TEST(parse_device("cpu").is_cpu());
  for (const char* name : {"tpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "CPU", ""})
    BOOST_CHECK_EXCEPTION(
        parse_device(name), Error,
        says(concatenate("unknown device '", name, "'; allowed: cpu, cuda, cuda:N, auto")));
  BOOST_TEST(concatenate(Device{Device::Kind::cuda, 1}) == "cuda:1");
  BOOST_TEST((parse_device("auto") == best_device()));
  if (cuda_device_count() > 0) return;
  BOOST_TEST(best_device().is_cpu());
  BOOST_TEST(!cuda_obstacle().empty());
  BOOST_CHECK_EXCEPTION(parse_device("cuda"), Error,
                        says(concatenate("device 'cuda' is not available: ", cuda_obstacle())));
  BOOST_CHECK_EXCEPTION(Tensor({2}, DType::float32, Device{Device::Kind::cuda, 0}), Error,
                        says(concatenate("device cuda:0 is not available: ", cuda_obstacle())));
}

BOOST_AUTO_TEST_CASE(tensors_print_for_people) {
  BOOST_TEST(concatenate(counting({2, 5})) == "float32(2, 5) on cpu [0, 1, 2, 3, 4, 5, 6, 7, ...]");
  BOOST_TEST(concatenate(Tensor::full({2}, 7, DType::uint8)) == "uint8(2) on cpu [7, 7]");
  BOOST_TEST(concatenate(Tensor()) == "tensor(undefined)");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
