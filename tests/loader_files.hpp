// Small files in the forms of the original data sets, for tests of what reads them.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "framework/random.hpp"

namespace vla {

inline void make_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string random_bytes(Index count, Rng& rng) {
  std::string bytes(static_cast<std::size_t>(count), '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng.below(256));
  return bytes;
}

/// A label, then 1024 bytes each of red, green and blue.
inline std::string cifar10_record(Index label, Rng& rng) {
  std::string record = random_bytes(1 + 3 * 1024, rng);
  record[0] = static_cast<char>(label);
  return record;
}

/// Six files of `records` records.
inline void write_cifar10_files(const std::filesystem::path& folder, Index records, Rng rng) {
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                           "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"}) {
    std::string file;
    for (Index i = 0; i < records; ++i) file += cifar10_record(rng.below(10), rng);
    make_file(folder / name, file);
  }
}

/// `reviews` files in each of the four folders.
inline void write_imdb_files(const std::filesystem::path& folder, Index reviews, Rng rng) {
  for (const char* part : {"train", "test"})
    for (const auto& [name, lowest] : {std::pair("neg", 1), std::pair("pos", 7)})
      for (Index i = 0; i < reviews; ++i)
        make_file(folder / part / name / concatenate(i, "_", lowest + rng.below(4), ".txt"),
                  random_bytes(1 + rng.below(400), rng));
}

/// Three files of `pairs` pairs of texts without tabs and line ends.
inline void write_aan_files(const std::filesystem::path& folder, Index pairs, Rng rng) {
  const auto text = [&] {
    std::string letters(static_cast<std::size_t>(rng.below(300)), ' ');
    for (char& letter : letters) letter = static_cast<char>(' ' + rng.below(95));
    return letters;
  };
  for (const char* split : {"train", "eval", "test"}) {
    std::string file;
    for (Index i = 0; i < pairs; ++i)
      file += (rng.below(2) == 0 ? "0.0\tP" : "1.0\tP") + std::to_string(i) + "\tQ\t" + text() +
              "\t" + text() + "\n";
    make_file(folder / (std::string("new_aan_pairs.") + split + ".tsv"), file);
  }
}

}  // namespace vla
