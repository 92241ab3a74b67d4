// Arrays in numpy's format: round trips, other orders and versions, and damaged files.
#include "framework/npy.hpp"

#include <boost/test/unit_test.hpp>
#include <fstream>
#include <iterator>

#include "tests/error_of.hpp"
#include "tests/npy_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

Tensor parse(const std::string& bytes) {
  return parse_npy(std::as_bytes(std::span(bytes)), "test file");
}

std::string refusal(const std::string& header, const std::string& data = "") {
  return error_of([&] { parse(npy_bytes(header, data)); });
}

std::string header(const std::string& descr, const std::string& shape = "(1,)") {
  return "{'descr': " + descr + ", 'fortran_order': False, 'shape': " + shape + ", }";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(npy)

BOOST_AUTO_TEST_CASE(tensors_come_back) {
  const TemporaryDirectory place;
  for (const auto& [name, tensor] : varied_tensors()) {
    write_npy(place / "x.npy", tensor);
    BOOST_TEST(same_bits(read_npy(place / "x.npy"), tensor), name);
  }
  const Tensor halves = Tensor::full({2, 3}, 0.3, DType::float32).to(DType::bfloat16);
  write_npy(place / "x.npy", halves);
  BOOST_TEST(same_bits(read_npy(place / "x.npy"), halves.to(DType::float32)));
}

// The bytes that numpy 2 writes for np.array([[1, 2], [3, 4]], dtype=np.uint8).
BOOST_AUTO_TEST_CASE(the_bytes_are_numpys) {
  const TemporaryDirectory place;
  write_npy(place / "x.npy", Tensor::from<std::uint8_t>({2, 2}, {1, 2, 3, 4}));
  std::ifstream in(place / "x.npy", std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  std::string expected = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }";
  expected.resize(117, ' ');
  BOOST_TEST((bytes == std::string("\x93NUMPY\x01\x00\x76\x00", 10) + expected + "\n\1\2\3\4"));
}

BOOST_AUTO_TEST_CASE(fortran_order_is_read_as_c_order) {
  // Element (i, j, k) is 100 i + 10 j + k, written with i running fastest.
  std::string data;
  for (int k = 0; k < 4; ++k)
    for (int j = 0; j < 3; ++j)
      for (int i = 0; i < 2; ++i) data += static_cast<char>(100 * i + 10 * j + k);
  const Tensor x =
      parse(npy_bytes("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 4), }", data));
  BOOST_TEST(x.shape() == Shape({2, 3, 4}));
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 4; ++k)
        BOOST_TEST(int(x.at<std::uint8_t>({i, j, k})) == 100 * i + 10 * j + k);
  const std::string empty = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 0, 4), }";
  BOOST_TEST(parse(npy_bytes(empty, "")).shape() == Shape({2, 0, 4}));
}

BOOST_AUTO_TEST_CASE(headers_of_other_writers_are_read) {
  for (const char* text : {R"({"shape":(2,),"fortran_order":False,"descr":"|u1"})",
                           "{ 'descr' : '|u1' , 'fortran_order' : False , 'shape' : ( 2 , ) }   "})
    BOOST_TEST(parse(npy_bytes(text, "ab")).at<std::uint8_t>({1}) == 'b');
  for (const char version : {'\2', '\3'})
    BOOST_TEST(parse(npy_bytes(header("'|u1'", "(2,)"), "ab", version)).size(0) == 2);
  BOOST_TEST(parse(npy_bytes(header("'|u1'", "()"), "a")).rank() == 0);
}

BOOST_AUTO_TEST_CASE(what_is_not_read_is_named) {
  const auto refused = [](const std::string& message, const std::string& part) {
    BOOST_TEST(message.starts_with("test file: "), message);
    BOOST_TEST((message.find(part) != std::string::npos), message);
    BOOST_TEST((message.find('\n') == std::string::npos), message);
  };
  refused(refusal(header("'|O'")), "element type '|O' is of Python objects");
  refused(refusal(header("'|V8'")), "element type '|V8' is of records");
  refused(refusal(header("[('a', '<f4')]")), "the elements are records");
  refused(refusal(header("'>f4'")), "element type '>f4' is big-endian");
  refused(refusal(header("'<f2'")), "element type '<f2' is not read; allowed: '<f4', '<f8'");
  refused(refusal(header("'<c8'")), "element type '<c8' is not read");
  refused(refusal(header("'|b1'")), "element type '|b1' is not read");
  refused(refusal(header("'<f4'", "(2,)"), "four"), "4 bytes of data where float32(2) has 2");
  refused(refusal(header("'<f4'"), "four!"), "5 bytes of data");
  refused(refusal(header("'|u1'", "(1)"), "a"), "',' after the first size");
  refused(refusal(header("'|u1'", "(-1,)"), "a"), "a size of 64 bits");
  refused(refusal(header("'|u1'", "(18446744073709551617,)"), "a"), "a size of 64 bits");
  refused(refusal(header("'|u1'", "(4294967296, 4294967296)")), "shape");
  refused(refusal(header("'<f8'", "(2305843009213693952,)")), "0 bytes of data");
  refused(refusal("{'descr': '|u1', 'descr': '|u1'}"), "'descr' twice");
  refused(refusal("{'descr': '|u1', 'shape': (1,)}", "a"), "no 'fortran_order'");
  refused(refusal("{'descr': '|u1', 'order': 1}"), "unknown entry 'order'");
  refused(refusal("__import__('os')"), "not one of numpy's");
  refused(error_of([] { parse("\x93NUMPX\x01"); }), "too few");
  refused(error_of([] { parse("no array, but a text"); }), "not in numpy's format");
  refused(error_of([] { parse(npy_bytes(header("'|u1'"), "a", '\4')); }), "version 4.0");
  const TemporaryDirectory place;
  BOOST_TEST(error_of([&] { read_npy(place / "none.npy"); }).starts_with("cannot read "));
  BOOST_TEST(error_of([&] { write_npy(place / "x.npy", Tensor()); }) ==
             "npy: the tensor is not defined");
}

// Cut anywhere or with any bit turned it is refused, or read with the shape that it had.
BOOST_AUTO_TEST_CASE(damaged_files_are_refused) {
  const TemporaryDirectory place;
  write_npy(place / "x.npy", Tensor::from<float>({3, 5}, std::vector<float>(15, 0.5f)));
  std::ifstream in(place / "x.npy", std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(in), {});
  for (std::size_t length = 0; length < whole.size(); ++length)
    BOOST_CHECK_THROW(parse(whole.substr(0, length)), Error);
  BOOST_CHECK_THROW(parse(whole + '\0'), Error);
  int refused = 0;
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    try {
      BOOST_TEST(parse(damaged).shape() == Shape({3, 5}));
    } catch (const Error&) {
      ++refused;
    }
  }
  BOOST_TEST(refused > 8 * 100);  // nearly every bit of the header
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
