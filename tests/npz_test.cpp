// Several arrays in numpy's .npz: round trips, what numpy and the stock safetensors package make of
// our files and we of theirs, and archives that are damaged or lie.
#include "framework/npz.hpp"

#include <boost/test/unit_test.hpp>
#include <fstream>

#include "tests/archives.hpp"
#include "tests/error_of.hpp"
#include "tests/npy_files.hpp"
#include "tests/optional.hpp"
#include "tests/program.hpp"

namespace vla {
namespace {

namespace utf = boost::unit_test;

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string zeros(const std::string& shape, std::size_t bytes) {
  return npy_bytes("{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + "}",
                   std::string(bytes, '\0'));
}

void check_same(const TensorFile& file,
                const std::vector<std::pair<std::string, Tensor>>& expected) {
  BOOST_REQUIRE_EQUAL(file.tensors.size(), expected.size());
  for (const auto& [name, tensor] : expected) BOOST_TEST(same_bits(file.at(name), tensor), name);
}

// Runs a Python program in a place.
void run_python(const Place& place, const std::string& program) {
  write(place / "program.py", program);
  const Outcome outcome = Place::run_in(place.path(), python(), "program.py");
  BOOST_TEST(outcome.errors == "");
  BOOST_REQUIRE(outcome.code == 0);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(npz)

BOOST_AUTO_TEST_CASE(tensors_come_back) {
  const Place place;
  write_npz(place / "x.npz", varied_tensors());
  const TensorFile file = read_npz(place / "x.npz");
  check_same(file, varied_tensors());
  for (std::size_t i = 0; i < file.tensors.size(); ++i)
    BOOST_TEST(file.tensors[i].first == varied_tensors()[i].first);
  const std::string bytes = read(place / "x.npz");
  write_npz(place / "x.npz", varied_tensors());
  BOOST_TEST((read(place / "x.npz") == bytes));
}

BOOST_AUTO_TEST_CASE(packed_members_are_read) {
  const Place place;
  write_archive(place / "x.npz", {{"a.npy", zeros("(9, 1000)", 9000)}, {"b.npy", zeros("()", 1)}});
  BOOST_TEST(read_npz(place / "x.npz").at("a").shape() == Shape({9, 1000}));
  BOOST_TEST(read_npz(place / "x.npz").at("b").rank() == 0);
}

BOOST_AUTO_TEST_CASE(what_is_not_read_is_named) {
  const Place place;
  const auto refused = [&](const std::string& part, const NpzOptions& options = {}) {
    const std::string message = error_of([&] { read_npz(place / "x.npz", options); });
    BOOST_TEST((message.find((place / "x.npz").string()) != std::string::npos), message);
    BOOST_TEST((message.find(part) != std::string::npos), message);
    BOOST_TEST((message.find('\n') == std::string::npos), message);
  };
  refused("cannot read ");
  write(place / "x.npz", "no archive, but a text");
  refused("not a zip archive that can be read");
  write_archive(place / "x.npz", {{"readme.txt", "text"}});
  refused("member 'readme.txt' is not a .npy file");
  write_archive(place / "x.npz", {{"a.npy", "text"}});
  refused("'a.npy': 4 bytes are too few");
  write_archive(place / "x.npz", {{"a.npy", zeros("(2,)", 3)}});
  refused("'a.npy': 3 bytes of data where uint8(2) has 2");
  write_archive(place / "x.npz", {{"a.npy", zeros("(2,)", 1)}}, ZIP_CM_STORE);
  refused("'a.npy': 1 bytes of data where uint8(2) has 2");
  // The second archive puts its member over the first's name.
  write_archive(place / "x.npz", {{"a.npy", zeros("(2,)", 2)}, {"b.npy", zeros("(2,)", 2)}});
  std::string bytes = read(place / "x.npz");
  for (std::size_t at; (at = bytes.find("b.npy")) != std::string::npos;) bytes[at] = 'a';
  write(place / "x.npz", bytes);
  refused("two members have one name");
  BOOST_TEST(error_of([&] {
               write_npz(place / "y.npz",
                         {{"a", Tensor({1}, DType::float32)}, {"a", Tensor({1}, DType::float32)}});
             }).ends_with("the name 'a' is empty, has a zero byte or is used twice"));
  BOOST_TEST(error_of([&] { write_npz(place / "y.npz", {}); }).ends_with("archive of nothing"));
  BOOST_TEST(!place.has("y.npz"));
}

BOOST_AUTO_TEST_CASE(what_unpacks_to_too_much_is_refused) {
  const Place place;
  write_archive(place / "x.npz",
                {{"a.npy", zeros("(30000,)", 30000)}, {"b.npy", zeros("(30000,)", 30000)}});
  const auto read_with = [&](std::uint64_t limit) {
    return error_of([&] { read_npz(place / "x.npz", {.limit = limit}); });
  };
  BOOST_TEST(read_with(70000) == "accepted");
  BOOST_TEST((read_with(50000).find("member 'b.npy' brings the arrays above the limit") !=
              std::string::npos));
  BOOST_TEST((read_with(20000).find("member 'a.npy' brings the arrays above the limit: 300") !=
              std::string::npos));
  // The directory claims 4 million times what is packed: then it is at odds with the member's own
  // head, unless that claims the same.
  write_archive(place / "x.npz", {{"a.npy", zeros("(4,)", 4)}});
  std::string bytes = read(place / "x.npz");
  const std::size_t entry = bytes.rfind("PK\1\2"), head = bytes.find("PK\3\4");
  BOOST_REQUIRE(entry != std::string::npos);
  BOOST_REQUIRE(head != std::string::npos);
  const auto claim = [&](std::size_t size_at) {
    bytes.replace(size_at, 4, std::string("\0\0\0\x7F", 4));
    write(place / "x.npz", bytes);
    return error_of([&] { read_npz(place / "x.npz"); });
  };
  std::string message = claim(entry + 24);
  BOOST_TEST((message.find("nconsistent") != std::string::npos), message);
  message = claim(head + 22);
  BOOST_TEST(
      (message.find("member 'a.npy' claims to hold 2130706432 bytes in ") != std::string::npos),
      message);
}

// A zip archive of one member of 9 bytes, of which one number is written over.
struct Lies : Place {
  std::string whole;
  explicit Lies(zip_int32_t method) {
    write_archive(*this / "x.npz", {{"a.npy", zeros("(9,)", 9)}}, method);
    whole = read(*this / "x.npz");
  }
  std::string refusal(const std::string& bytes) const {
    write(*this / "x.npz", bytes);
    return error_of([&] { read_npz(*this / "x.npz"); });
  }
  // At the same time in the directory and in the member's own head, where the number stands 2
  // before.
  std::string with_both(std::size_t at, const std::string& number) const {
    std::string bytes = whole;
    bytes.replace(bytes.rfind("PK\1\2") + at, number.size(), number);
    bytes.replace(bytes.find("PK\3\4") + at - 2, number.size(), number);
    return refusal(bytes);
  }
  std::string at_the_end(std::size_t at, const std::string& number) const {
    std::string bytes = whole;
    bytes.replace(bytes.rfind("PK\5\6") + at, number.size(), number);
    return refusal(bytes);
  }
};

BOOST_AUTO_TEST_CASE(heads_that_lie_are_refused) {
  constexpr std::size_t kFlags = 8, kMethod = 10, kPacked = 20, kSize = 24, kNameLength = 28;
  for (const zip_int32_t method : {ZIP_CM_STORE, ZIP_CM_DEFLATE}) {
    const Lies archive(method);
    BOOST_TEST(archive.refusal(archive.whole) == "accepted");
    check_contains(archive.with_both(kFlags, "\1"), "'a.npy' cannot be read: ");  // encrypted
    check_contains(archive.with_both(kMethod, "\14"), "is packed by method 12; 0 ");
    for (const char* size : {"\1", "\xFF"}) {
      BOOST_TEST(archive.with_both(kSize, size) != "accepted");
      BOOST_TEST(archive.with_both(kPacked, size) != "accepted");
    }
    for (const std::string& length :
         {std::string(2, '\0'), std::string("\4\0", 2), std::string("\xFF\xFF")})
      BOOST_TEST(archive.with_both(kNameLength, length) != "accepted");
    // How many members there are, and where and how long their directory is.
    for (const std::size_t at : {8, 10, 12, 16, 20})
      for (const std::string& number :
           {std::string("\0\0", 2), std::string("\2\0", 2), std::string("\xFF\xFF")}) {
        std::string usual = archive.whole.substr(archive.whole.rfind("PK\5\6") + at, 2);
        if (number != usual) BOOST_TEST(archive.at_the_end(at, number) != "accepted", at);
      }
  }
}

BOOST_AUTO_TEST_CASE(a_real_bomb_is_refused_before_it_is_unpacked) {
  const Place place;
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  write_archive(place / "x.npz", {{"a.npy", zeros(concatenate("(", kBytes, ",)"), kBytes)}});
  BOOST_TEST(std::filesystem::file_size(place / "x.npz") < 100'000u);
  check_contains(error_of([&] { read_npz(place / "x.npz", {.limit = kBytes}); }),
                 "brings the arrays above the limit");
  // The member unpacks to what it says, the array in it says more.
  write_archive(place / "x.npz", {{"a.npy", zeros("(9223372036854775807,)", 1 << 20)}});
  check_contains(error_of([&] { read_npz(place / "x.npz"); }),
                 "1048576 bytes of data where uint8(9");
}

// One packed array, unpacked many times: members that share their bytes are of one name or are not
// what their own heads say.
BOOST_AUTO_TEST_CASE(members_that_share_their_bytes_are_refused) {
  const Place place;
  write_archive(place / "x.npz", {{"a.npy", zeros("(9,)", 9)}, {"b.npy", zeros("(9,)", 9)}});
  const std::string whole = read(place / "x.npz");
  const std::size_t second = whole.rfind("PK\1\2");
  std::string bytes = whole;
  bytes.replace(second + 42, 4, std::string(4, '\0'));
  write(place / "x.npz", bytes);
  check_contains(error_of([&] { read_npz(place / "x.npz"); }), "nconsistent");
  bytes.replace(bytes.rfind("b.npy"), 1, "a");
  write(place / "x.npz", bytes);
  check_contains(error_of([&] { read_npz(place / "x.npz"); }), "two members have one name");
}

// Nothing is ever written under a member's name.
BOOST_AUTO_TEST_CASE(names_are_names_alone) {
  const Place place;
  for (const std::string name : {"/etc/x", "../../x", "..\\x", "C:\\x", "a/b", " ", ".."}) {
    write_archive(place / "x.npz", {{name + ".npy", zeros("(2,)", 2)}});
    BOOST_TEST(read_npz(place / "x.npz").at(name).size(0) == 2);
  }
  for (const std::string name : {".npy", "a.npy/", "a.NPY", "a.npy.gz"}) {
    write_archive(place / "x.npz", {{name, zeros("(2,)", 2)}}, ZIP_CM_STORE);
    check_contains(error_of([&] { read_npz(place / "x.npz"); }), " is not a .npy file");
  }
}

// Cut anywhere or with any bit turned: refused, or read as it was.
BOOST_AUTO_TEST_CASE(damaged_files_are_refused) {
  for (const zip_int32_t method : {ZIP_CM_STORE, ZIP_CM_DEFLATE}) {
    const Place place;
    const auto path = place / "x.npz";
    write_archive(path, {{"a.npy", zeros("(3, 5)", 15)}}, method);
    const Tensor array = read_npz(path).at("a");
    const std::string whole = read(path);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      write(path, whole.substr(0, length));
      BOOST_CHECK_THROW(read_npz(path), Error);
    }
    int refused = 0;
    for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string damaged = whole;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      write(path, damaged);
      try {
        for (const auto& named : read_npz(path).tensors) BOOST_TEST(same_bits(named.second, array));
      } catch (const Error&) {
        ++refused;
      }
    }
    BOOST_TEST(refused > 4 * static_cast<int>(whole.size()));
  }
}

BOOST_AUTO_TEST_CASE(numpy_reads_ours, *utf::precondition(has_python_package("numpy"))) {
  const Place place;
  write_npz(place / "x.npz", varied_tensors());
  run_python(place, R"(
import numpy as np
file = np.load("x.npz")
assert file.zip.testzip() is None
d = file["doubles"]
assert d.dtype == np.float64 and d.shape == (2, 2) and d[0, 0] == 0.1 and d[1, 1] == 5e-324
assert np.signbit(d[0, 1]) and np.isnan(d[1, 0])
assert file["blocks.0.floats"].dtype == np.float32 and file["blocks.0.floats"].shape == (1, 3, 1)
assert file["numbers"].tolist() == [-2**63, -1, 7] and file["numbers"].dtype == np.int64
assert file["bytes"].tolist() == [0, 255] and file["bytes"].dtype == np.uint8
assert file["scalar"].shape == () and file["scalar"] == 2.5
assert file["nothing"].shape == (3, 0, 2) and file["λ₀"] == 7
assert len(file.files) == 7
)");
}

BOOST_AUTO_TEST_CASE(we_read_numpys, *utf::precondition(has_python_package("numpy"))) {
  const Place place;
  run_python(place, R"(
import numpy as np
arrays = {"c": np.arange(24, dtype=np.float64).reshape(2, 3, 4),
          "f": np.asfortranarray(np.arange(24, dtype=np.int64).reshape(2, 3, 4)),
          "λ₀/x": np.float32(3)}
np.savez("stored.npz", **arrays)
np.savez_compressed("packed.npz", **arrays)
np.savez("half.npz", x=np.zeros(3, np.float16))
np.savez("objects.npz", x=np.array([{}], dtype=object))
np.savez("big.npz", x=np.zeros(3, ">f8"))
np.savez("records.npz", x=np.zeros(3, [("a", "f4")]))
)");
  for (const char* name : {"stored.npz", "packed.npz"}) {
    const TensorFile file = read_npz(place / name);
    BOOST_REQUIRE_EQUAL(file.tensors.size(), 3);
    BOOST_TEST(file.at("c").at<double>({1, 2, 3}) == 23);
    BOOST_TEST(file.at("f").at<std::int64_t>({1, 2, 3}) == 23);
    BOOST_TEST(file.at("f").at<std::int64_t>({0, 1, 2}) == 6);
    BOOST_TEST(file.at("λ₀/x").item() == 3);
  }
  for (const auto& [name, part] : {std::pair{"half.npz", "'<f2' is not read"},
                                   {"objects.npz", "Python objects"},
                                   {"big.npz", "big-endian"},
                                   {"records.npz", "records"}}) {
    const std::string message = error_of([&] { read_npz(place / name); });
    BOOST_TEST((message.find(part) != std::string::npos), message);
  }
}

BOOST_AUTO_TEST_CASE(the_safetensors_package_reads_ours_and_we_read_its,
                     *utf::precondition(has_python_package("numpy")) *
                         utf::precondition(has_python_package("safetensors.numpy"))) {
  const Place place;
  write_safetensors(place / "ours.safetensors",
                    {.tensors = varied_tensors(), .metadata = {{"key", "λ"}}});
  run_python(place, R"(
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
file = load_file("ours.safetensors")
assert len(file) == 7 and file["numbers"].tolist() == [-2**63, -1, 7]
assert file["doubles"][1, 1] == 5e-324 and file["scalar"].shape == ()
assert safe_open("ours.safetensors", "np").metadata()["key"] == "λ"
save_file(file, "theirs.safetensors", {"key": "λ"})
)");
  const TensorFile theirs = read_safetensors(place / "theirs.safetensors");
  check_same(theirs, varied_tensors());
  BOOST_TEST(theirs.text("key") == "λ");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
