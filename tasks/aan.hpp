// Pairs of documents of the ACL Anthology Network, does one cite the other: the retrieval of the
// Long Range Arena.
#pragma once

#include <filesystem>

#include "tasks/labelled_bytes.hpp"

namespace vla {

/// Settings of Aan.
struct AanOptions {
  std::string data;              ///< the folder of new_aan_pairs.train.tsv and others
  Index length = 8000;           ///< T, even: half of it for each document
  std::string held_out = "val";  ///< val, which is new_aan_pairs.eval.tsv, or test
};

/// Two documents, each at the end of one half of the sequence with at least one place of padding
/// before it; class 1: they are related. Of a longer document the first T/2 - 1 bytes count.
class Aan : public LabelledBytesTask {
 public:
  /// Throws Error for settings that are not allowed and files that cannot be read or are damaged.
  explicit Aan(const AanOptions& options);
};

/// Reads a file of lines "label<TAB>id<TAB>id<TAB>text<TAB>text", the label 0, 1, 0.0 or 1.0 and
/// nothing quoted; of each text the first `longest` bytes count. Throws Error, with the file, the
/// line and what was expected, for anything else, and for a file without lines.
LabelledBytes read_aan(const std::filesystem::path& path, Index longest);

}  // namespace vla
