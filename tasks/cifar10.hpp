// CIFAR-10 as the Long Range Arena has it: a grey image, pixel after pixel.
#pragma once

#include <filesystem>

#include "tasks/labelled_bytes.hpp"

namespace vla {

/// Settings of Cifar10.
struct Cifar10Options {
  std::string data;              ///< the folder of the binary version: data_batch_1.bin and others
  std::string held_out = "val";  ///< val or test
};

/// 1024 pixels, row after row, each a byte; 10 classes. The grey of a pixel is
/// 0.299 R + 0.587 G + 0.114 B, rounded. Of the records of data_batch_1.bin to data_batch_5.bin the
/// last tenth is val, the others are learned from (5,000 and 45,000 of the original files); test is
/// test_batch.bin.
class Cifar10 : public LabelledBytesTask {
 public:
  /// Throws Error for files that cannot be read or are damaged.
  explicit Cifar10(const Cifar10Options& options);
};

/// Appends the records of one file: a label, then 1024 bytes each of red, green and blue. Throws
/// Error, with the file, the record (from 0) and what was expected, for a label above 9 and for a
/// file that is not one or more whole records.
void read_cifar10(const std::filesystem::path& path, LabelledBytes& into);

}  // namespace vla
