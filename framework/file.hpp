// Files as loaders and savers need them: reads that check the size, writes that replace a file as a
// whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vla {

/// A regular file open for reading. Throws Error with the system's reason when that fails.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t bytes() const { return bytes_; }
  /// Fills `into` with the bytes from `offset` on. Throws Error if the file ends before.
  void read(std::uint64_t offset, std::span<std::byte> into) const;

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::uint64_t bytes_ = 0;
};

/// All that a regular file holds. Throws Error with the system's reason when it cannot be read.
std::string read_text(const std::filesystem::path& path);

/// The files and folders in a folder, in the order of their paths. Throws Error with the system's
/// reason when it cannot be read.
std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder);

/// Makes a folder and those above it, as far as they are not there. Throws Error with the system's
/// reason.
void make_folder(const std::filesystem::path& folder);

/// Makes `path` a file of the pieces, one after the other: they are written to a temporary file
/// beside it, PATH.PROCESS.N.tmp, which takes its place once it is safely on disk; those that
/// processes left which were ended while they wrote are removed. Throws Error
/// with the system's reason on failure; what was at `path` is then untouched and the temporary file
/// removed. Only if the folder cannot be brought to disk after that is the new file in place, and
/// the Error says so.
void replace_file(const std::filesystem::path& path,
                  const std::vector<std::span<const std::byte>>& pieces);

/// The same with a text.
void write_text(const std::filesystem::path& path, std::string_view text);

/// Makes `path` a copy of `original`, as replace_file does, but the temporary file is one of the
/// original's: whoever replaces that next clears away what a process left that was ended meanwhile.
void replace_by_copy(const std::filesystem::path& path, const std::filesystem::path& original);

/// Gives the file another name, in place of what had that name, and brings that to disk. Throws
/// Error with the system's reason, also if only the folder cannot be brought to disk.
void rename_file(const std::filesystem::path& path, const std::filesystem::path& name);

/// Waits until what the file holds is safely on disk. Throws Error with the system's reason.
void sync_file(const std::filesystem::path& path);

/// Throws the Error that replace_file would throw for this path now, and leaves nothing behind: for
/// work that takes a while before there is something to write.
void check_replaceable(const std::filesystem::path& path);

}  // namespace vla
