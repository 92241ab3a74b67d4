#include "tasks/png.hpp"

#include <zlib.h>

#include "tests/fuzz/use.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

constexpr Index kSide = 4;

std::uint32_t number_at(std::string_view bytes, std::size_t place) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i)
    number = number << 8 | static_cast<std::uint8_t>(bytes[place + i]);
  return number;
}

// The same with the checksum of each chunk made right: otherwise next to no change would get past
// it to what lies behind.
std::string with_right_checksums(std::string_view bytes) {
  constexpr std::size_t kSignature = 8;
  std::string result(bytes);
  for (std::size_t at = kSignature; at + 12 <= result.size();) {
    const std::uint64_t length = number_at(result, at);
    if (length > result.size() - at - 12) break;
    const auto* type = reinterpret_cast<const Bytef*>(result.data() + at + 4);
    const auto sum = ::crc32(0, type, static_cast<uInt>(length + 4));
    for (std::size_t i = 0; i < 4; ++i)
      result[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i) & 0xFF);
    at += 12 + length;
  }
  return result;
}

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "x.png");
  bool any = false;
  for (const std::string& text : {std::string(bytes), with_right_checksums(bytes)}) {
    file.hold(text);
    const auto pixels = loaded([] { return read_png(file.path(), kSide, kSide); });
    if (!pixels) continue;
    require(pixels->size() == kSide * kSide, "the image has another size");
    any = true;
  }
  return any;
}

std::string big_endian(std::uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift & 0xFF);
  return bytes;
}

// A black image of another form than encode_png writes. `colour` is the format's number: 0 grey,
// 2 red, green and blue, 3 by a palette, 4 and 6 the first two with alpha.
std::string black_image(char depth, char colour, char interlaced) {
  const std::string rows(200, '\0');  // as many bytes as any of these forms has
  std::string packed(::compressBound(rows.size()), '\0');
  uLongf size = packed.size();
  ::compress(reinterpret_cast<Bytef*>(packed.data()), &size,
             reinterpret_cast<const Bytef*>(rows.data()), rows.size());
  packed.resize(size);
  const auto chunk = [](const std::string& type, const std::string& data) {
    return big_endian(static_cast<std::uint32_t>(data.size())) + type + data + big_endian(0);
  };
  std::string bytes = "\x89PNG\r\n\x1A\n";
  bytes += chunk("IHDR",
                 big_endian(kSide) + big_endian(kSide) + depth + colour + '\0' + '\0' + interlaced);
  if (colour == 3) bytes += chunk("PLTE", std::string(12, 'a')) + chunk("tRNS", "\x7F");
  bytes += chunk("gAMA", big_endian(45455)) + chunk("IDAT", packed) + chunk("IEND", "");
  return with_right_checksums(bytes);
}

std::vector<std::string> seeds() {
  std::vector<std::uint8_t> pixels(kSide * kSide);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(15 * i);
  const std::vector<std::uint8_t> file = encode_png(pixels, kSide, kSide);
  return {std::string(file.begin(), file.end()),
          black_image(1, 0, 1),
          black_image(16, 0, 0),
          black_image(8, 2, 0),
          black_image(2, 3, 0),
          black_image(8, 4, 1),
          black_image(16, 6, 0)};
}

const AddTarget added({"png", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
