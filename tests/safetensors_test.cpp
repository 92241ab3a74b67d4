// Round trips, damaged files, and the golden cases.
#include "framework/safetensors.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <locale>
#include <set>

#include "tests/error_of.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

TensorFile parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "test file");
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && dispatch_any(a.dtype(), [&](auto z) {
           using T = decltype(z);
           return a.bytes() == 0 || std::memcmp(a.data<T>(), b.data<T>(), a.bytes()) == 0;
         });
}

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Every element type, a scalar, a size 0, values without a plain decimal form, names in need of
// escapes. Wider types first: the order of the file.
TensorFile varied_file() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  TensorFile file;
  file.tensors = {
      {"doubles", Tensor::from<double>({2, 2}, std::vector<double>{0.1, -0.0, nan, 5e-324})},
      {"numbers", Tensor::from<std::int64_t>(
                      {3}, std::vector<std::int64_t>{std::numeric_limits<std::int64_t>::min(), -1,
                                                     std::numeric_limits<std::int64_t>::max()})},
      {"scalar", Tensor::scalar(2.5, DType::float64)},
      {"nothing", Tensor({3, 0, 2}, DType::float64)},
      {"floats", Tensor::from<float>({1, 3, 1}, std::vector<float>{1.5f, 1e-45f, INFINITY})},
      {"", Tensor::scalar(7, DType::float32)},
      {"quote \" back\\slash \n tab\t \x01 { } , : [",
       Tensor::from<std::uint8_t>({2}, std::vector<std::uint8_t>{0, 255})},
      {"λ₀ 数 🙂", Tensor::from<std::uint8_t>({1}, std::vector<std::uint8_t>{3})},
      {std::string("zero\0byte", 9), Tensor({0}, DType::uint8)}};
  file.metadata = {
      {"", ""}, {"text", "line\n\"quoted\" \\ ü"}, {"__metadata__", "a name like any"}};
  return file;
}

void check_equal(const TensorFile& read, const TensorFile& written) {
  BOOST_REQUIRE_EQUAL(read.tensors.size(), written.tensors.size());
  for (std::size_t i = 0; i < read.tensors.size(); ++i) {
    BOOST_TEST(read.tensors[i].first == written.tensors[i].first);
    BOOST_TEST(same(read.tensors[i].second, written.tensors[i].second), written.tensors[i].first);
  }
  BOOST_TEST((read.metadata == written.metadata));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(safetensors)

BOOST_AUTO_TEST_CASE(everything_written_is_read_back) {
  TemporaryDirectory folder;
  const TensorFile written = varied_file();
  write_safetensors(folder / "a.safetensors", written);
  check_equal(read_safetensors(folder / "a.safetensors"), written);
  check_equal(parse(content(folder / "a.safetensors")), written);
  BOOST_TEST((read_safetensors_metadata(folder / "a.safetensors") == written.metadata));

  write_safetensors(folder / "a.safetensors", TensorFile{});
  check_equal(read_safetensors(folder / "a.safetensors"), TensorFile{});
}

BOOST_AUTO_TEST_CASE(data_of_every_type_is_aligned) {
  TemporaryDirectory folder;
  TensorFile file;
  file.tensors = {{"mask", Tensor::zeros({3}, DType::uint8)},
                  {"weight", Tensor::zeros({1}, DType::float32)},
                  {"count", Tensor::zeros({1}, DType::int64)},
                  {"second", Tensor::zeros({2}, DType::int64)}};
  write_safetensors(folder / "a", file);
  const std::string bytes = content(folder / "a");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  BOOST_TEST(length % 8 == 0u);
  std::vector<std::string> order;
  for (const auto& [name, tensor] : parse(bytes).tensors) order.push_back(name);
  BOOST_TEST(order == (std::vector<std::string>{"count", "second", "weight", "mask"}));
}

BOOST_AUTO_TEST_CASE(a_type_without_a_name_in_the_format_is_not_written) {
  TemporaryDirectory folder;
  BOOST_CHECK_EXCEPTION(
      write_safetensors(folder / "a", {.tensors = {{"w", Tensor({1}, DType::bfloat16)}}}), Error,
      [](const Error& e) { return contains(e.what(), "a: tensor 'w' is bfloat16; float32, "); });
  BOOST_TEST(!std::filesystem::exists(folder / "a"));
}

BOOST_AUTO_TEST_CASE(lookup_by_name) {
  const TensorFile file = varied_file();
  BOOST_TEST(file.at("scalar").item() == 2.5);
  BOOST_TEST(file.find("scalars") == nullptr);
  BOOST_CHECK_EXCEPTION(file.at("scalars"), Error,
                        [](const Error& e) { return contains(e.what(), "'scalars'"); });
  BOOST_TEST(file.text("") == "");
  BOOST_CHECK_THROW(file.text("step"), Error);
}

BOOST_AUTO_TEST_CASE(the_locale_does_not_matter) {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  TemporaryDirectory folder;
  TensorFile file;
  file.tensors = {{"x", Tensor::zeros({1'000, 2}, DType::float32)}};
  const std::locale before = std::locale::global(std::locale(std::locale(), new Grouped));
  write_safetensors(folder / "a", file);
  std::locale::global(before);
  BOOST_TEST(read_safetensors(folder / "a").at("x").shape() == Shape({1'000, 2}));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written) {
  TemporaryDirectory folder;
  auto refusal = [&](const TensorFile& file) -> std::string {
    return error_of([&] { write_safetensors(folder / "a", file); });
  };
  auto with = [](std::vector<std::pair<std::string, Tensor>> tensors) {
    TensorFile file;
    file.tensors = std::move(tensors);
    return file;
  };
  const Tensor one = Tensor::scalar(1, DType::float32);
  BOOST_TEST(contains(refusal(with({{"x", one}, {"x", one}})), "'x'"));
  BOOST_TEST(contains(refusal(with({{"__metadata__", one}})), "reserved"));
  BOOST_TEST(contains(refusal(with({{"\xFF", one}})), "not UTF-8"));
  BOOST_TEST(contains(refusal(with({{"y", Tensor()}})), "'y' is not defined"));
  BOOST_TEST(contains(refusal(with({{"z", one.reshape(std::vector<Index>(65, 1))}})), "65 axes"));
  TensorFile text;
  text.metadata["k"] = "\xFF";
  BOOST_TEST(contains(refusal(text), "not UTF-8"));
  BOOST_TEST(!std::filesystem::exists(folder / "a"));
}

BOOST_AUTO_TEST_CASE(errors_name_the_file) {
  TemporaryDirectory folder;
  const std::string path = (folder / "empty").string();
  auto named = [&](const Error& error) { return contains(error.what(), path); };
  BOOST_CHECK_EXCEPTION(read_safetensors(path), Error, named);
  std::ofstream{path};
  BOOST_CHECK_EXCEPTION(read_safetensors(path), Error, named);
  BOOST_CHECK_EXCEPTION(read_safetensors_metadata(path), Error, named);
}

BOOST_AUTO_TEST_CASE(every_truncation_is_refused) {
  TemporaryDirectory folder;
  write_safetensors(folder / "a", varied_file());
  const std::string bytes = content(folder / "a");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    BOOST_REQUIRE_EXCEPTION(parse(bytes.substr(0, size)), Error,
                            [](const Error& error) { return !contains(error.what(), "\n"); });
  }
  BOOST_CHECK_THROW(parse(bytes + '\0'), Error);
}

BOOST_AUTO_TEST_CASE(every_flipped_bit_is_refused_or_harmless) {
  TemporaryDirectory folder;
  write_safetensors(folder / "a", varied_file());
  const std::string original = content(folder / "a");
  std::uint64_t header = 0;
  std::memcpy(&header, original.data(), sizeof header);
  std::size_t refused = 0, accepted = 0;
  for (std::size_t bit = 0; bit < 8 * original.size(); ++bit) {
    std::string bytes = original;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    try {
      std::size_t data = 0;
      std::set<std::string> names;
      for (const auto& [name, tensor] : parse(bytes).tensors) {
        data += tensor.bytes();
        BOOST_REQUIRE(names.insert(name).second);
      }
      BOOST_REQUIRE_EQUAL(data, bytes.size() - 8 - header);
      ++accepted;
    } catch (const Error& error) {
      BOOST_REQUIRE(!contains(error.what(), "\n"));
      BOOST_REQUIRE_LT(bit, 8 * (8 + header));  // data may be anything
      ++refused;
    }
  }
  BOOST_TEST(refused > 1000u);
  BOOST_TEST(accepted > 100u);
}

BOOST_AUTO_TEST_CASE(golden_cases_are_read) {
  const std::filesystem::path folder = std::filesystem::path(VLA_SOURCE_DIR) / "tests/golden";
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const TensorFile file = read_safetensors(entry.path());
    BOOST_TEST(file.text("case") == entry.path().stem());
    seen.insert(entry.path().stem());
    for (const auto& [name, tensor] : file.tensors) {
      BOOST_TEST(tensor.elements() > 0, entry.path() << " " << name);
      if (tensor.dtype() == DType::int64) continue;
      bool finite = true;
      for (double value : tensor.values<double>()) finite = finite && std::isfinite(value);
      BOOST_TEST(finite, entry.path() << " " << name);
    }
  }
  const std::set<std::string> expected = {"deltanet",
                                          "deltanet_gated_multihead",
                                          "inverse_penalty_exact",
                                          "inverse_penalty_forgetting",
                                          "linear_multihead",
                                          "linear_transformer",
                                          "softmax_multihead",
                                          "train3_deltanet",
                                          "train3_linear",
                                          "train3_softmax",
                                          "vla_exact",
                                          "vla_exact_forgetting",
                                          "vla_exact_plain",
                                          "vla_exact_restored"};
  for (const std::string& name : expected) BOOST_TEST(seen.contains(name), name);
  const TensorFile training = read_safetensors(folder / "train3_softmax.safetensors");
  BOOST_TEST(training.at("tokens").shape() == Shape({3, 4, 25}));
  BOOST_TEST(training.at("tokens").dtype() == DType::int64);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
