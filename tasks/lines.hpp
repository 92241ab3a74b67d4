// A file of text, line by line, for loaders that trust nothing in it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "framework/check.hpp"
#include "framework/file.hpp"
#include "framework/tensor.hpp"

namespace vla {

/// The lines of a file, which end with a line feed that a carriage return may precede. Read block
/// by block, so that neither a large file nor one without line ends fills the memory.
class Lines {
 public:
  /// `expected` says what a line is, for messages. Throws Error for a file that cannot be read.
  Lines(const std::filesystem::path& path, std::string expected)
      : path_(path), file_(path), expected_(std::move(expected)) {}

  /// The next line, without its end, valid until the next call; false after the last. Throws Error
  /// for a line of more than 16 MiB.
  bool next(std::string_view& line);

  /// Throws Error with the file and the number of the line before its message.
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(path_.string(), ", line ", number_, ": ", parts...);
  }

 private:
  void read_block();

  std::filesystem::path path_;
  InputFile file_;
  std::string expected_;
  std::uint64_t offset_ = 0;  // of what was not read yet
  std::string text_;          // what was read, used up to start_
  std::size_t start_ = 0;
  Index number_ = 0;
};

/// A word for a message, whatever it holds and however long it is.
std::string shown(std::string_view word);

}  // namespace vla
