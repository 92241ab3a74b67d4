#include "tasks/png.hpp"

#include <png.h>

#include <algorithm>

#include "framework/file.hpp"

namespace vla {
namespace {

constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 26;
// How every whole file ends. libpng does not look once it has all pixels.
constexpr std::uint8_t kEnd[] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82};

// libpng's description of an image; it is told to let go of what it holds.
struct Png : png_image {
  Png() : png_image{} { version = PNG_IMAGE_VERSION; }
  ~Png() { png_image_free(this); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;
};

}  // namespace

std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> pixels, Index width,
                                     Index height) {
  constexpr Index kWidest = 1 << 15;
  check(width >= 1 && height >= 1 && width <= kWidest && height <= kWidest &&
            static_cast<Index>(pixels.size()) == width * height,
        "png: ", pixels.size(), " pixels for an image of ", width, " x ", height,
        "; expected as many as it has, each side 1 to ", kWidest);
  Png image;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = PNG_FORMAT_GRAY;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::uint8_t> file(bytes);
  check(png_image_write_to_memory(&image, file.data(), &bytes, 0, pixels.data(), 0, nullptr) != 0,
        "png: an image of ", width, " x ", height, " cannot be written: ", image.message);
  file.resize(bytes);
  return file;
}

std::vector<std::uint8_t> read_png(const std::filesystem::path& path, Index width, Index height) {
  const InputFile input(path);
  check(input.bytes() <= kLargestFile, path.string(), " has ", input.bytes(),
        " bytes; expected a PNG image of ", kLargestFile, " or less");
  std::vector<std::uint8_t> file(input.bytes());
  input.read(0, std::as_writable_bytes(std::span(file)));
  Png image;
  check(png_image_begin_read_from_memory(&image, file.data(), file.size()) != 0, path.string(),
        ": ", image.message, "; expected a PNG image");
  // Before memory is taken for what the file says.
  check(image.width == static_cast<std::uint64_t>(width) &&
            image.height == static_cast<std::uint64_t>(height),
        path.string(), " is an image of ", image.width, " x ", image.height, "; expected ", width,
        " x ", height);
  image.format = PNG_FORMAT_GRAY;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height));
  check(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr) != 0, path.string(), ": ",
        image.message, "; expected a whole PNG image");
  check(file.size() >= sizeof kEnd && std::ranges::equal(std::span(file).last(sizeof kEnd), kEnd),
        path.string(), ": does not end as a PNG image does; expected a whole one");
  return pixels;
}

}  // namespace vla
