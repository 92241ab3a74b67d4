// Film reviews, good or bad, byte by byte: the text classification of the Long Range Arena.
#pragma once

#include <filesystem>

#include "tasks/labelled_bytes.hpp"

namespace vla {

/// Settings of Imdb.
struct ImdbOptions {
  std::string data;     ///< the folder aclImdb, with train and test in it
  Index length = 4096;  ///< T: of longer reviews the first T bytes count
};

/// Padding, then a review; class 0 is bad (neg), 1 is good (pos). Learned from are those in
/// train/neg and train/pos, held out those in test/neg and test/pos: there is no third part.
class Imdb : public LabelledBytesTask {
 public:
  /// Throws Error for a length that is not allowed and files that cannot be read or are damaged.
  explicit Imdb(const ImdbOptions& options);
};

/// The reviews of a folder with neg and pos in it, in the order of their names, cut to `length`
/// bytes. Throws Error, with the file and what was expected, for one that cannot be read, that is
/// empty, or whose name is not NUMBER_RATING.txt with a rating of 1 to 4 in neg and 7 to 10 in pos;
/// and for a folder without files.
LabelledBytes read_imdb(const std::filesystem::path& folder, Index length);

}  // namespace vla
