#include "tools/tensorboard.hpp"

#include <array>
#include <bit>
#include <chrono>

#include "framework/file.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc % 2 == 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    table[byte] = crc;
  }
  return table;
}

// Of `count` bytes, the least first.
std::string little_endian(std::uint64_t number, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(number >> (8 * i) & 0xff);
  return bytes;
}

// A checksum of data that hold checksums is weak; so the format turns and moves it.
std::string masked_crc(std::string_view bytes) {
  return little_endian(std::rotr(crc32c(bytes), 15) + 0xa282ead8u, 4);
}

std::string record(const std::string& data) {
  const std::string length = little_endian(data.size(), 8);
  return length + masked_crc(length) + data + masked_crc(data);
}

// Of protobuf: numbers in groups of 7 bits, and fields with a number and a kind before them.
enum class Wire { varint = 0, eight_bytes = 1, text = 2, four_bytes = 5 };

std::string varint(std::uint64_t number) {
  std::string bytes;
  for (; number >= 0x80; number >>= 7) bytes += static_cast<char>((number & 0x7f) | 0x80);
  return bytes + static_cast<char>(number);
}

std::string field(int number, Wire wire, const std::string& bytes) {
  const std::string key = varint(static_cast<std::uint64_t>(number << 3 | static_cast<int>(wire)));
  return wire == Wire::text ? key + varint(bytes.size()) + bytes : key + bytes;
}

std::string wall_time_field(double seconds) {
  return field(1, Wire::eight_bytes, little_endian(std::bit_cast<std::uint64_t>(seconds), 8));
}

// Summary.Value: tag and simple_value.
std::string scalar(const std::string& tag, double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  return field(1, Wire::text,
               field(1, Wire::text, tag) + field(2, Wire::four_bytes, little_endian(bits, 4)));
}

std::string event(const Metrics& line, double wall_time) {
  const std::string before = line.held_out() ? "held-out/" : "";
  std::string summary = scalar(before + "loss", line.loss) +
                        scalar(before + "accuracy", line.accuracy) +
                        scalar(before + "tokens_per_second", line.tokens_per_second);
  for (const auto& [name, value] : line.more) summary += scalar(before + name, value);
  return wall_time_field(wall_time) +
         field(2, Wire::varint, varint(static_cast<std::uint64_t>(line.step))) +
         field(5, Wire::text, summary);
}

double seconds_of(const Metrics& line) {
  const auto found = line.more.find("seconds");
  return found == line.more.end() ? 0 : found->second;
}

double time_of(const fs::path& file) {
  const auto time = std::chrono::file_clock::to_sys(fs::last_write_time(file));
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// A path that stays below a folder it is added to.
fs::path name_of(const fs::path& directory) {
  const fs::path below =
      fs::weakly_canonical(directory).lexically_proximate(fs::weakly_canonical(fs::current_path()));
  const bool outside = below.empty() || *below.begin() == ".." || below == ".";
  return outside ? fs::weakly_canonical(directory).relative_path() : below;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> kTable = crc_table();
  std::uint32_t crc = 0xffffffffu;
  for (const char byte : bytes)
    crc = kTable[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff] ^ crc >> 8;
  return ~crc;
}

std::string tensorboard_events(const std::vector<Metrics>& lines, double wall_time) {
  // Of a number that lines of a run have: the seconds that it had taken.
  const double start = lines.empty() ? wall_time : wall_time - seconds_of(lines.back());
  std::string file = record(wall_time_field(start) + field(3, Wire::text, "brain.Event:2"));
  for (const Metrics& line : lines) file += record(event(line, start + seconds_of(line)));
  return file;
}

void write_tensorboard(const RunDirectory& run, const fs::path& folder) {
  const fs::path place = folder / name_of(run.path());
  make_folder(place);
  const std::vector<Metrics> lines = run.metrics();
  const double wall_time = lines.empty() ? 0 : time_of(run.metrics_path());
  write_text(place / "events.out.tfevents.vla", tensorboard_events(lines, wall_time));
}

}  // namespace vla
