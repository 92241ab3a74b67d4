// Headers made to break the reader: each must be refused with one line, by Error and nothing else.
#include "framework/safetensors_header.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <optional>

#include "framework/random.hpp"
#include "framework/safetensors.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

// A file of a header and some data, with the true header length unless told otherwise.
std::string file_of(const std::string& header, std::size_t data_bytes,
                    std::optional<std::uint64_t> length = {}) {
  const std::uint64_t written = length.value_or(header.size());
  std::string bytes(sizeof written, '\0');
  std::memcpy(bytes.data(), &written, sizeof written);
  return bytes + header + std::string(data_bytes, '\1');
}

// The message that refuses the bytes, or "accepted". Anything but Error ends the test.
std::string message(const std::string& bytes) {
  return error_of([&] { parse_safetensors(std::as_bytes(std::span(bytes)), "test file"); });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kOne = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

}  // namespace

BOOST_AUTO_TEST_SUITE(safetensors_header)

BOOST_AUTO_TEST_CASE(legal_headers) {
  BOOST_TEST(message(file_of(kOne, 8)) == "accepted");
  BOOST_TEST(message(file_of(kOne + " \n\t ", 8)) == "accepted");
  BOOST_TEST(message(file_of("{}", 0)) == "accepted");
  BOOST_TEST(message(file_of(R"({"__metadata__":{}})", 0)) == "accepted");
  // The metadata may come last; fields in any order; a size 0 between others.
  BOOST_TEST(message(file_of(R"({"a":{"data_offsets":[0,1],"shape":[],"dtype":"U8"},)"
                             R"("b":{"dtype":"I64","shape":[4,0],"data_offsets":[1,1]},)"
                             R"("c":{"dtype":"U8","shape":[1,1],"data_offsets":[1,2]},)"
                             R"("__metadata__":{"a":"b","b":"b"}})",
                             2)) == "accepted");
}

BOOST_AUTO_TEST_CASE(attacks_on_the_length) {
  for (std::size_t size = 0; size < 8; ++size)
    BOOST_TEST(contains(message(std::string(size, '\1')), "too few"));
  for (std::uint64_t length : {100'000'001ul, 1ul << 32, 1ul << 63, ~0ul, ~0ul - 7})
    BOOST_TEST(contains(message(file_of(kOne, 8, length)), "too long"), length);
  for (std::uint64_t length : {kOne.size() + 9, 1'000'000ul, 100'000'000ul})
    BOOST_TEST(contains(message(file_of(kOne, 8, length)), "does not fit"), length);
  BOOST_TEST(message(file_of(kOne, 8, 0)) != "accepted");
  BOOST_TEST(message(file_of(kOne, 8, kOne.size() - 1)) != "accepted");
  BOOST_TEST(message(file_of(kOne, 8, kOne.size() + 1)) != "accepted");
}

BOOST_AUTO_TEST_CASE(attacks_on_the_text) {
  for (const std::string& header :
       {std::string(" ") + kOne, "\xEF\xBB\xBF" + kOne, kOne + std::string(1, '\0'),
        kOne + std::string("\0junk", 5), kOne + kOne, kOne + "x", std::string(""), std::string("{"),
        std::string("[]"), std::string("null"), std::string("\"a\""), std::string("// x\n{}"),
        std::string("{}//"), std::string("{,}"), std::string("{\"a\"}"), std::string("{a:1}"),
        std::string("{\"__metadata__\":{\"a\":\"b\",}}"),
        // Not UTF-8: alone, overlong, a surrogate, cut off; as raw bytes and as an escape.
        std::string("{\"__metadata__\":{\"a\":\"\xFF\"}}"),
        std::string("{\"__metadata__\":{\"a\":\"\xC0\x80\"}}"),
        std::string("{\"__metadata__\":{\"a\":\"\xED\xA0\x80\"}}"),
        std::string("{\"__metadata__\":{\"\xE2\x82\":\"\"}}"),
        std::string(R"({"__metadata__":{"a":"\ud800"}})"),
        std::string("{\"__metadata__\":{\"a\":\"\n\"}}")}) {
    const std::string text = message(file_of(header, 8));
    BOOST_TEST(contains(text, "test file: the header"), text);
    BOOST_TEST(!contains(text, "\n"));
    BOOST_TEST(text.size() < 300u);
  }
}

BOOST_AUTO_TEST_CASE(attacks_by_nesting) {
  const std::string deep(1'000'000, '['), objects = [] {
    std::string text;
    for (int i = 0; i < 200'000; ++i) text += "{\"a\":";
    return text;
  }();
  for (const std::string& header :
       {deep, "{\"a\":" + deep, objects, "{\"__metadata__\":" + objects,
        "{\"__metadata__\":" + deep, "{\"a\":{\"shape\":" + deep, "{\"a\":{\"dtype\":" + objects,
        R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})" + std::string(),
        R"({"a":{"dtype":"F32","shape":[{}],"data_offsets":[0,8]}})" + std::string()})
    BOOST_TEST(message(file_of(header, 8)) != "accepted");
}

BOOST_AUTO_TEST_CASE(attacks_on_the_structure) {
  // {header, what the message must name}, all with 8 bytes of data.
  const std::vector<std::pair<std::string, std::string>> attacks = {
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "'a' twice"},
      {R"({"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "'a' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", "'__metadata__' twice"},
      {R"({"__metadata__":{"k":"1","k":"1"}})", "'k' twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "'dtype' is there twice"},
      {R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})",
       "'shape' is there twice"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}})",
       "'data_offsets' is there twice"},
      {R"({"a":{"shape":[2],"data_offsets":[0,8]}})", "'dtype' is missing"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", "'shape' is missing"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", "'data_offsets' is missing"},
      {R"({"a":{}})", "is missing"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "unknown field 'x'"},
      {R"({"a":{"Dtype":"F32"}})", "unknown field 'Dtype'"},
      {R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}})",
       "'F16' is not supported; allowed: F32, F64, I64, U8"},
      {R"({"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}})", "'f32'"},
      {R"({"a":{"dtype":"","shape":[2],"data_offsets":[0,8]}})", "''"},
      {R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", "dtype is a number"},
      {R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})", "dtype is an array"},
      {R"({"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}})", "dtype is null"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", "shape is a number"},
      {R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})", "shape is a string"},
      {R"({"a":{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", "shape is an object"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":{"0":0}}})", "data_offsets is an object"},
      {R"({"a":1})", "'a': it is a number"},
      {R"({"a":"F32"})", "'a': it is a string"},
      {R"({"a":[]})", "'a': it is an array"},
      {R"({"a":null})", "'a': it is null"},
      {R"({"a":true})", "'a': it is a boolean"},
      {R"({"__metadata__":1})", "__metadata__ is a number"},
      {R"({"__metadata__":null})", "__metadata__ is null"},
      {R"({"__metadata__":[]})", "__metadata__ is an array"},
      {R"({"__metadata__":"x"})", "__metadata__ is a string"},
      {R"({"__metadata__":{"k":1}})", "has a number under 'k'"},
      {R"({"__metadata__":{"k":-1}})", "has a negative number under 'k'"},
      {R"({"__metadata__":{"k":1.5}})", "under 'k'"},
      {R"({"__metadata__":{"k":null}})", "has null under 'k'"},
      {R"({"__metadata__":{"k":true}})", "has a boolean under 'k'"},
      {R"({"__metadata__":{"k":{}}})", "has an object under 'k'"},
      {R"({"__metadata__":{"k":[]}})", "has an array under 'k'"},
      {"{}", "no byte may be left over"},
      {"{\"a\\n" + std::string(10'000, 'b') + "\":1}", "'a\\x0abbb"}};
  for (const auto& [header, part] : attacks) {
    const std::string text = message(file_of(header, 8));
    BOOST_TEST(contains(text, part), header.substr(0, 120) << " -> " << text);
    BOOST_TEST(!contains(text, "\n"));
    BOOST_TEST(text.size() < 300u);
  }
}

BOOST_AUTO_TEST_CASE(attacks_on_numbers) {
  for (const std::string number : {"2.0",
                                   "-2",
                                   "-0",
                                   "2e0",
                                   "0.2e1",
                                   "true",
                                   "null",
                                   "\"2\"",
                                   "[2]",
                                   "{}",
                                   "1e999",
                                   "02",
                                   "+2",
                                   "0x2",
                                   "2.",
                                   "NaN",
                                   "Infinity",
                                   "18446744073709551616",
                                   "99999999999999999999999999",
                                   ""}) {
    for (const std::string& header :
         {R"({"a":{"dtype":"F32","shape":[)" + number + R"(],"data_offsets":[0,8]}})",
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[)" + number + ",8]}}",
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,)" + number + "]}}"})
      BOOST_TEST(message(file_of(header, 8)) != "accepted", header);
  }
}

BOOST_AUTO_TEST_CASE(attacks_on_sizes) {
  for (const std::string shape :
       {"3", "2,2", "9223372036854775807", "9223372036854775808", "18446744073709551615",
        "4611686018427387904", "2305843009213693952", "4294967296,4294967296",
        "4294967296,1073741824", "9223372036854775807,9223372036854775807",
        "0,18446744073709551615", "0,9223372036854775808", "2,4611686018427387905", "0",
        "9223372036854775809,2"})
    for (const std::string dtype : {"F32", "U8", "I64"}) {
      const std::string header =
          R"({"a":{"dtype":")" + dtype + R"(","shape":[)" + shape + R"(],"data_offsets":[0,8]}})";
      BOOST_TEST(contains(message(file_of(header, 8)), "'a': "), header);
    }
  for (const std::string shape : {"0,18446744073709551615", "9223372036854775808,0"}) {
    const std::string header =
        R"({"a":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,0]}})";
    BOOST_TEST(contains(message(file_of(header, 0)), "'a': its shape has more"), header);
  }
  std::string ones = "2";
  for (int i = 0; i < 64; ++i) ones += ",1";
  BOOST_TEST(
      contains(message(file_of(
                   R"({"a":{"dtype":"F32","shape":[)" + ones + R"(],"data_offsets":[0,8]}})", 8)),
               "more than 64"));
}

BOOST_AUTO_TEST_CASE(attacks_on_offsets) {
  for (const std::string offsets :
       {"", "0", "0,8,8", "8,0", "0,4", "4,8", "0,9", "1,9", "0,16", "8,16",
        "0,18446744073709551615", "18446744073709551608,0",
        "18446744073709551615,18446744073709551615", "9223372036854775808,9223372036854775816"})
    BOOST_TEST(
        message(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[)" + offsets + "]}}",
                        8)) != "accepted",
        offsets);
  auto pair = [](const std::string& first, const std::string& second) {
    auto entry = [](const std::string& range) {
      return R"({"dtype":"U8","shape":[4],"data_offsets":[)" + range + "]}";
    };
    return message(file_of(R"({"a":)" + entry(first) + R"(,"b":)" + entry(second) + "}", 8));
  };
  BOOST_TEST(pair("0,4", "4,8") == "accepted");
  BOOST_TEST(contains(pair("4,8", "0,4"), "'a': its data starts at 4"));  // not sorted
  BOOST_TEST(contains(pair("0,4", "0,4"), "'b': its data starts at 0"));  // the same bytes twice
  BOOST_TEST(contains(pair("0,4", "3,7"), "'b': its data starts at 3"));  // overlap
  BOOST_TEST(contains(pair("0,3", "4,8"), "'a': shape and dtype need 4 bytes"));
  BOOST_TEST(contains(message(file_of(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                      R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                                      8)),
                      "'b': its data starts at 4"));  // hole
  BOOST_TEST(contains(message(file_of(kOne, 9)), "left over"));
  BOOST_TEST(contains(message(file_of(kOne, 7)), "do not lie within"));
}

BOOST_AUTO_TEST_CASE(random_headers) {
  Rng rng(1);
  const std::string alphabet = "{}[]:,\"\\0123456789.-eEu aF3264shapedtype_\n\x80\xFF";
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string header = "{";
    for (Index i = rng.below(40); i > 0; --i)
      header += alphabet[static_cast<std::size_t>(rng.below(static_cast<Index>(alphabet.size())))];
    BOOST_REQUIRE(message(file_of(header, 4)) != "accepted");
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
