// Language, byte by byte: any file is a corpus.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tasks/task.hpp"

namespace vla {

/// Settings of Text.
struct TextOptions {
  std::string file;           ///< any regular file, up to 4 GiB
  Index length = 256;         ///< T
  double valid_share = 0.1;   ///< of the file, at its end: held out, never trained on
  std::string held_out = {};  ///< val: the first half of that; test: the second; empty: all of it
};

/// T bytes in a row from a random place of the training part; the target at place t is the byte
/// after it. All places count. The file is cut in two: the training part, then what is held out.
/// Held-out examples come from the valid part alone, which is all of that or, with `held_out`, a
/// half: val to choose by, test to report. Their measures are in bits per byte, the loss over ln 2.
class Text : public Task {
 public:
  /// Reads the file. Throws Error if that fails, if `held_out` is another word, and if either part
  /// has less than T + 1 bytes.
  explicit Text(const TextOptions& options);

  Index vocabulary() const override { return 256; }
  Index length() const override { return options_.length; }
  /// The share in the valid part of the byte that is the most frequent of the training part.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;
  Batch sample_held_out(Index size, Rng& rng) const override;
  std::vector<Measure> measures(double loss) const override;
  /// What a compressor needs for the valid part: alone, and after the training part, that is the
  /// size of both minus that of the training part, which a trained model has seen too. Of the
  /// training part the last kReferenceTraining bytes count, of the valid part the first
  /// kReferenceValid.
  std::vector<Measure> references() const override;
  std::string fingerprint() const override { return fingerprint_; }

  /// The bytes that are learned from.
  std::span<const std::uint8_t> training_part() const;
  /// The bytes that are evaluated on.
  std::span<const std::uint8_t> valid_part() const;

 private:
  TextOptions options_;
  std::vector<std::uint8_t> bytes_;
  std::size_t training_bytes_ = 0, valid_begin_ = 0, valid_bytes_ = 0;
  std::string fingerprint_;
};

inline constexpr std::size_t kReferenceTraining = std::size_t{8} << 20;
inline constexpr std::size_t kReferenceValid = std::size_t{1} << 20;

}  // namespace vla
