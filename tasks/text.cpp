#include "tasks/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "framework/checksum.hpp"
#include "framework/file.hpp"
#include "tasks/compression.hpp"

namespace vla {
namespace {

constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 32;  // what Rng::below can draw from

using Bytes = std::span<const std::uint8_t>;

std::vector<std::uint8_t> read_file(const std::string& path) {
  check(!path.empty(), "text: no file to learn from; --text FILE names it");
  const InputFile file(path);
  check(file.bytes() <= kLargestFile, "text: ", path, " has ", file.bytes(),
        " bytes, which is not allowed; ", kLargestFile, " or less");
  std::vector<std::uint8_t> bytes(file.bytes());
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

Batch windows_of(Bytes part, Index length, Index size, Rng& rng) {
  const Index places = static_cast<Index>(part.size()) - length;
  return write_batch("text", size, length, [&](auto tokens, auto targets) {
    const Bytes window =
        part.subspan(static_cast<std::size_t>(rng.below(places)), tokens.size() + 1);
    std::ranges::copy(window.first(tokens.size()), tokens.begin());
    std::ranges::copy(window.last(targets.size()), targets.begin());
  });
}

}  // namespace

Text::Text(const TextOptions& options) : options_(options) {
  const auto& [file, length, valid_share, held_out] = options_;
  check_task_setting("text", "length", length, 1, kLongestSequence);
  check(valid_share > 0 && valid_share < 1, "text: valid-share ", valid_share,
        " is not allowed; between 0 and 1");
  if (!held_out.empty()) check_held_out("text", held_out);
  bytes_ = read_file(file);
  const auto share = static_cast<std::size_t>(valid_share * static_cast<double>(bytes_.size()));
  training_bytes_ = bytes_.size() - share;
  valid_begin_ = training_bytes_ + (held_out == "test" ? share / 2 : 0);
  valid_bytes_ = held_out == "val" ? share / 2 : bytes_.size() - valid_begin_;
  check(static_cast<Index>(std::min(valid_bytes_, training_bytes_)) > length, "text: ", file,
        " has ", bytes_.size(), " bytes, ", training_bytes_, " to learn from and ", valid_bytes_,
        " to evaluate on (valid-share ", valid_share, held_out.empty() ? "" : ", held-out ",
        held_out, "); length ", length, " needs ", length + 1, " or more of each");
  fingerprint_ =
      concatenate(bytes_.size(), " bytes, checksum ", checksum(std::as_bytes(std::span(bytes_))));
}

Bytes Text::training_part() const { return Bytes(bytes_).first(training_bytes_); }

Bytes Text::valid_part() const { return Bytes(bytes_).subspan(valid_begin_, valid_bytes_); }

double Text::chance() const {
  std::array<std::size_t, 256> counts{};
  for (std::uint8_t byte : training_part()) ++counts[byte];
  const auto guess = std::ranges::max_element(counts) - counts.begin();
  return static_cast<double>(std::ranges::count(valid_part(), guess)) /
         static_cast<double>(valid_part().size());
}

Batch Text::sample(Index size, Rng& rng) const {
  return windows_of(training_part(), length(), size, rng);
}

Batch Text::sample_held_out(Index size, Rng& rng) const {
  return windows_of(valid_part(), length(), size, rng);
}

std::vector<Measure> Text::measures(double loss) const {
  return {{"bits_per_byte", loss / std::numbers::ln2}};
}

std::vector<Measure> Text::references() const {
  const Bytes valid = valid_part().first(std::min(valid_part().size(), kReferenceValid));
  const Bytes training = training_part().last(std::min(training_part().size(), kReferenceTraining));
  std::vector<std::uint8_t> both(training.begin(), training.end());
  both.insert(both.end(), valid.begin(), valid.end());
  const auto bits = [](Bytes data) { return 8 * static_cast<double>(compressed_bytes(data)); };
  const auto count = static_cast<double>(valid.size());
  const std::string of = concatenate("xz -9 of the first ", kReferenceValid >> 20, " MiB");
  return {{"xz_bits_per_byte", bits(valid) / count, of},
          {"xz_after_training_bits_per_byte", (bits(both) - bits(training)) / count,
           concatenate(of, " after the last ", kReferenceTraining >> 20)}};
}

}  // namespace vla
