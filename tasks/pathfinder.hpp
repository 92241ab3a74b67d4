// Pathfinder of the Long Range Arena: are two marks in an image the ends of one dashed path?
#pragma once

#include "tasks/labelled_bytes.hpp"
#include "tasks/pathfinder_file.hpp"

namespace vla {

/// Settings of Pathfinder.
struct PathfinderOptions {
  Index length = 1024;           ///< T: 1024, 4096, 16384 or 65536 pixels, the sides 32 .. 256
  Index contour = 14;            ///< dashes of a long path: 6, 9 or 14
  std::string data = {};         ///< a folder of images to learn from; empty: they are drawn
  std::string held_out = "val";  ///< of the data: val or test
};

/// The pixels of a grey image, row after row, as in LabelledBytesTask; class 1 where the marks are
/// connected. See pathfinder_image.hpp for how images are drawn.
///
/// With `data` they are read when they are needed, epoch by epoch: of the images in the order of
/// the metadata the first 80 % are learned from, the next 10 % are val, the last test. `contour`
/// then counts for nothing.
class Pathfinder : public Task {
 public:
  /// Throws Error for settings that are not allowed, and for metadata that cannot be read or are
  /// damaged. A damaged image is found when it is drawn.
  explicit Pathfinder(const PathfinderOptions& options = {});

  Index vocabulary() const override { return kByteTokens + 2; }
  Index length() const override { return options_.length; }
  /// Drawn: 1/2. With data: the share of held-out images with the label most frequent in those that
  /// are learned from.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;
  Batch sample_held_out(Index size, Rng& rng) const override;
  std::string fingerprint() const override { return fingerprint_; }

  /// The rule that images are drawn by.
  const PathfinderRule& rule() const { return rule_; }

 private:
  Batch sample_drawn(Index size, Rng& rng) const;
  Batch sample_from(Index begin, Index end, Index size, Rng& rng) const;

  PathfinderOptions options_;
  PathfinderRule rule_;
  PathfinderSet set_;
  Index training_end_ = 0, held_out_begin_ = 0, held_out_end_ = 0;
  std::string fingerprint_;
};

}  // namespace vla
