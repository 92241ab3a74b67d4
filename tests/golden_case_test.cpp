// Golden cases whose file is in order, but says what no case says.
#include "tools/golden_case.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <sstream>

#include "framework/nn/layers.hpp"
#include "tests/error_of.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

// A file, and what a case says of it.
struct Written : TemporaryDirectory {
  std::ostringstream lines;
  GoldenCase golden(const TensorFile& file, double tolerance = 1e-9) {
    write_safetensors(*this / "case", file);
    return GoldenCase((*this / "case").string(), DType::float64, Device{}, tolerance, lines);
  }
  GoldenCase with_text(const std::string& text) {
    return golden({.metadata = {{"case", "name"}, {"key", text}}});
  }
};

Tensor filled(const Shape& shape, double value) {
  return Tensor::full(shape, value, DType::float64);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(golden_case)

BOOST_AUTO_TEST_CASE(a_case_needs_a_name) {
  Written written;
  BOOST_TEST(error_of([&] { written.golden({}); }).ends_with(": the metadata has no 'case'"));
}

BOOST_AUTO_TEST_CASE(a_number_is_all_of_its_text) {
  Written written;
  BOOST_TEST(written.with_text("1.5e1").number("key") == 15);
  BOOST_TEST(written.with_text("15").integer("key") == 15);
  BOOST_TEST(written.with_text("").number_or("other", 3) == 3);
  BOOST_TEST(written.with_text("").integer_or("other", 3) == 3);
  BOOST_TEST(written.with_text("4").number_or("key", 3) == 4);
  BOOST_TEST(written.with_text("4").integer_or("key", 3) == 4);
  for (const char* text : {"", "x", "1x", "1 ", "--1", "1e999", "1,5", "\n\n"})
    check_contains(error_of([&] { written.with_text(text).number("key"); }),
                   "; a number is needed");
  for (const char* text : {"1.5", "nan", "inf", "-inf", "1e9", "1e300", "-1e18"})
    check_contains(error_of([&] { written.with_text(text).integer("key"); }),
                   "; an integer is needed");
  check_contains(error_of([&] { written.with_text(std::string(5000, 'x')).number("key"); }),
                 "xx...'");
}

BOOST_AUTO_TEST_CASE(a_list_is_of_numbers) {
  Written written;
  BOOST_TEST(written.with_text("[1, 2.5e0]").numbers("key") == (std::vector<double>{1, 2.5}));
  BOOST_TEST(written.with_text("[]").numbers("key").empty());
  for (const std::string& text :
       {std::string(), std::string("["), std::string("1"), std::string("{}"),
        std::string("[\"1\"]"), std::string("[null]"), std::string("[1e999]"), std::string("[[1]]"),
        std::string("[NaN]"), std::string("[1] 2"), std::string(300'000, '[')})
    check_contains(error_of([&] { written.with_text(text).numbers("key"); }),
                   "'key' is not a list of numbers");
}

BOOST_AUTO_TEST_CASE(arrays_of_another_shape_are_refused) {
  Written written;
  GoldenCase golden =
      written.golden({.tensors = {{"a", filled({2, 3}, 1)}, {"zero", filled({2}, 0)}},
                      .metadata = {{"case", "name"}}});
  check_contains(error_of([&] {
                   golden.compare("a", filled({3, 2}, 1));
                 }),
                 "shape (3, 2) where the case has (2, 3)");
  check_contains(error_of([&] { golden.compare("b", filled({1}, 1)); }), "no tensor is named 'b'");
  golden.compare("a", filled({2, 3}, 1));
  golden.compare("zero", filled({2}, 0));
  BOOST_TEST(golden.passed());
  golden.compare("zero", filled({2}, std::nan("")));
  BOOST_TEST(!golden.passed());
  BOOST_TEST(written.lines.str() == "name a 0\nname zero 0\nname zero nan  FAILED\n");
}

BOOST_AUTO_TEST_CASE(parameters_are_given_all_and_once) {
  Written written;
  Rng rng(1);
  const auto refused = [&](std::vector<std::pair<std::string, Tensor>> tensors) {
    return error_of([&] {
      GoldenCase golden =
          written.golden({.tensors = std::move(tensors), .metadata = {{"case", "n"}}});
      Linear layer(2, 3, rng, {.dtype = DType::float64});
      ParameterMap parameters = parameter_map(layer);
      load(golden, "p.", parameters);
      compare_all(golden, "p.", parameters, [](const Var& value) { return value.value(); });
      compare_all(golden, "grad.", parameters, [](const Var& value) { return value.value(); });
    });
  };
  const auto weight = [](const Shape& shape) { return std::pair("p.weight", filled(shape, 1)); };
  const auto bias = [](const Shape& shape) { return std::pair("p.bias", filled(shape, 1)); };
  check_contains(refused({weight({3, 2}), bias({3})}), "there is no array 'grad....'");
  check_contains(refused({weight({3, 2})}),
                 "'n': the case has 1 of the model's parameters; it has 2");
  check_contains(refused({weight({3, 2}), bias({3}), {"p.more", filled({3}, 1)}}),
                 "no parameter 'more'");
  check_contains(refused({weight({4, 2}), bias({3})}), "array 'p.weight' has 4 rows, not 3");
  for (const Shape& shape : {Shape({}), Shape({2}), Shape({3}), Shape({2, 2}), Shape({3, 3}),
                             Shape({0, 2}), Shape({3, 2, 1}), Shape({6})})
    BOOST_TEST(refused({weight(shape), bias({3})}).find("grad.") == std::string::npos, shape);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
