// PNG files: what is written is read, and what is damaged is refused.
#include "tasks/png.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "tests/compare.hpp"
#include "tests/loader_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

using Pixels = std::vector<std::uint8_t>;

Pixels random_pixels(Index count) {
  Rng rng(1);
  Pixels pixels(static_cast<std::size_t>(count));
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(rng.below(256));
  return pixels;
}

struct File : TemporaryDirectory {
  std::filesystem::path path = *this / "image.png";
  void write(const std::vector<std::uint8_t>& bytes) const {
    make_file(path, {bytes.begin(), bytes.end()});
  }
  // What is said against the file beside its name, or empty.
  std::string refused(Index width, Index height) const {
    try {
      read_png(path, width, height);
    } catch (const Error& error) {
      const std::string message = error.what();
      const std::size_t at = message.find(path.string());
      return at == std::string::npos ? "no name: " + message
                                     : message.substr(at + path.string().size());
    }
    return "";
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(png)

BOOST_AUTO_TEST_CASE(an_image_comes_back_as_it_was) {
  const File file;
  for (const auto& [width, height] : {std::pair<Index, Index>{1, 1}, {7, 5}, {5, 7}, {256, 256}}) {
    const Pixels pixels = random_pixels(width * height);
    file.write(encode_png(pixels, width, height));
    BOOST_TEST((read_png(file.path, width, height) == pixels));
  }
  BOOST_CHECK_THROW(encode_png(random_pixels(6), 2, 2), Error);
  BOOST_CHECK_THROW(encode_png({}, 0, 0), Error);
  BOOST_CHECK_THROW(encode_png({}, Index{1} << 40, 0), Error);
}

// An image of two pixels in colours, both of them grey: 90 and 255.
BOOST_AUTO_TEST_CASE(colours_become_grey) {
  const File file;
  file.write({0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00, 0x00, 0x00, 0x0D,
              0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01,
              0x08, 0x02, 0x00, 0x00, 0x00, 0x7B, 0x40, 0xE8, 0xDD, 0x00, 0x00, 0x00,
              0x0F, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9C, 0x63, 0x88, 0x8A, 0x8A, 0xFA,
              0xFF, 0xFF, 0x3F, 0x00, 0x0B, 0x47, 0x04, 0x0C, 0x04, 0x13, 0x1F, 0xBC,
              0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4E, 0x44, 0xAE, 0x42, 0x60, 0x82});
  BOOST_TEST(file.refused(2, 1) == "");
  BOOST_TEST((read_png(file.path, 2, 1) == Pixels{90, 255}));
}

BOOST_AUTO_TEST_CASE(a_damaged_image_is_refused) {
  const File file;
  const Pixels pixels = random_pixels(8 * 8);
  const std::vector<std::uint8_t> whole = encode_png(pixels, 8, 8);
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    file.write({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes)});
    const std::string message = file.refused(8, 8);
    if (message.empty() || message.starts_with("no name"))
      BOOST_ERROR(bytes << " of " << whole.size() << " bytes: " << message);
  }
  // A wrong byte is noticed, or does not matter.
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (int flip : {0x01, 0x20, 0x80, 0xFF}) {
      std::vector<std::uint8_t> wrong = whole;
      wrong[at] = static_cast<std::uint8_t>(wrong[at] ^ flip);
      file.write(wrong);
      if (file.refused(8, 8).empty() && read_png(file.path, 8, 8) != pixels)
        BOOST_ERROR("byte " << at << " ^ " << flip);
    }
  std::vector<std::uint8_t> longer = whole;
  longer.push_back(0);
  file.write(longer);
  BOOST_TEST(file.refused(8, 8) == ": does not end as a PNG image does; expected a whole one");
  file.write({'n', 'o', 'n', 'e'});
  BOOST_TEST(file.refused(8, 8).find("; expected a PNG image") != std::string::npos);
}

// Before anything of that size is read or made.
BOOST_AUTO_TEST_CASE(an_image_of_another_size_is_refused) {
  const File file;
  file.write(encode_png(random_pixels(8 * 8), 8, 8));
  BOOST_TEST(file.refused(8, 9) == " is an image of 8 x 8; expected 8 x 9");
  BOOST_TEST(file.refused(16, 8) == " is an image of 8 x 8; expected 16 x 8");
  std::filesystem::remove(file.path);
  BOOST_TEST(file.refused(8, 8) == ": No such file or directory");
  std::ofstream(file.path) << "";
  std::filesystem::resize_file(file.path, std::uintmax_t{1} << 40);  // a hole
  BOOST_TEST(file.refused(8, 8) ==
             " has 1099511627776 bytes; expected a PNG image of 67108864 or less");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
