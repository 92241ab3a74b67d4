#include "framework/file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "framework/check.hpp"

namespace vla {
namespace {

[[noreturn]] void fail_with_reason(const char* action, const std::filesystem::path& path,
                                   int error) {
  fail("cannot ", action, " ", path.string(), ": ", std::generic_category().message(error));
}

// A file beside its target, removed unless it took the target's place. Its lock tells that
// somebody is writing it, and goes with the process.
class TemporaryFile {
 public:
  // The mode is left to the umask, which mkstemp would not do.
  explicit TemporaryFile(const std::filesystem::path& target) {
    for (int attempt = 0; descriptor_ < 0; ++attempt) {
      path_ = target;
      path_ += concatenate(".", ::getpid(), ".", attempt, ".tmp");
      descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && (errno != EEXIST || attempt == 1000))
        fail_with_reason("write", target, errno);
      // Between the two calls somebody may have taken it for one that was left behind.
      struct stat status {};
      const bool taken = descriptor_ >= 0 &&
                         ((::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) ||
                          (::fstat(descriptor_, &status) == 0 && status.st_nlink == 0));
      if (taken) ::close(std::exchange(descriptor_, -1));
    }
  }
  ~TemporaryFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  // 0, or the system's error number.
  int write(std::span<const std::byte> piece) {
    while (!piece.empty()) {
      const ssize_t written = ::write(descriptor_, piece.data(), piece.size());
      if (written < 0 && errno != EINTR) return errno;
      if (written > 0) piece = piece.subspan(static_cast<std::size_t>(written));
    }
    return 0;
  }
  int sync() { return ::fsync(descriptor_) == 0 ? 0 : errno; }
  int take_place_of(const std::filesystem::path& target) {
    if (::rename(path_.c_str(), target.c_str()) != 0) return errno;
    path_.clear();
    return 0;
  }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

// Syncs what is open and closes it: 0, or the system's error number. Some file systems have nothing
// to sync, which does not say that something went wrong.
int sync_and_close(int descriptor) {
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return error == EINVAL || error == ENOTSUP ? 0 : error;
}

// After a power failure the rename itself must be there too. That a directory is closed to readers
// does not say that something went wrong.
void sync_folder_of(const std::filesystem::path& path) {
  const int descriptor = ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  if (const int error = sync_and_close(descriptor); error != 0)
    fail(path.string(), " is written, but its folder is not safely on disk: ",
         std::generic_category().message(error));
}

// Whether `name` is `target` with ".PROCESS.N.tmp" behind it.
bool is_temporary_of(std::string_view name, std::string_view target) {
  if (!name.starts_with(target) || !name.ends_with(".tmp")) return false;
  name.remove_prefix(target.size());
  name.remove_suffix(4);
  for (int number = 0; number < 2; ++number) {
    if (!name.starts_with('.')) return false;
    name.remove_prefix(1);
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    if (digits == 0) return false;
    name.remove_prefix(digits);
  }
  return name.empty();
}

// Writes the pieces to the file, which then takes the place of `path`.
void fill(TemporaryFile& file, const std::vector<std::span<const std::byte>>& pieces,
          const std::filesystem::path& path) {
  int error = 0;
  for (std::size_t i = 0; i < pieces.size() && error == 0; ++i) error = file.write(pieces[i]);
  if (error == 0) error = file.sync();
  if (error == 0) error = file.take_place_of(path);
  if (error != 0) fail_with_reason("write", path, error);
  sync_folder_of(path);
}

// Removes the temporary files of `path` that processes left which were ended while they wrote. In a
// folder that cannot be listed they stay.
void remove_stale_temporaries(const std::filesystem::path& path) {
  const std::string target = path.filename().string();
  std::vector<std::filesystem::path> files;
  try {
    files = files_in(folder_of(path));
  } catch (const Error&) {
    return;
  }
  for (const std::filesystem::path& file : files) {
    if (!is_temporary_of(file.filename().string(), target)) continue;
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (descriptor < 0) continue;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) ::unlink(file.c_str());
    ::close(descriptor);
  }
}

}  // namespace

// O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
InputFile::InputFile(const std::filesystem::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) fail_with_reason("read", path, errno);
  struct stat status {};
  const int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);  // the destructor does not run when a constructor throws
    if (error != 0) fail_with_reason("read", path, error);
    fail("cannot read ", path.string(), ": it is not a regular file");
  }
  bytes_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t count =
        ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_with_reason("read", path_, errno);
    check(count > 0, "cannot read ", path_.string(), ": it ends at byte ", offset, ", ",
          into.size(), " more are needed");
    into = into.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

std::string read_text(const std::filesystem::path& path) {
  const InputFile file(path);
  std::string text(file.bytes(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  // std::filesystem::directory_iterator ends the program where it finds no memory.
  struct Close {
    void operator()(DIR* open) const { ::closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(::opendir(folder.c_str()));
  if (!open) fail_with_reason("read", folder, errno);
  std::vector<std::filesystem::path> paths;
  errno = 0;
  while (const dirent* entry = ::readdir(open.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") paths.push_back(folder / name);
    errno = 0;
  }
  if (errno != 0) fail_with_reason("read", folder, errno);
  std::ranges::sort(paths);
  return paths;
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check(!error, "cannot make the directory ", folder.string(), ": ", error.message());
}

void replace_file(const std::filesystem::path& path,
                  const std::vector<std::span<const std::byte>>& pieces) {
  remove_stale_temporaries(path);
  TemporaryFile file(path);
  fill(file, pieces, path);
}

void replace_by_copy(const std::filesystem::path& path, const std::filesystem::path& original) {
  const std::string text = read_text(original);
  TemporaryFile file(original);
  fill(file, {std::as_bytes(std::span(text))}, path);
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  replace_file(path, {std::as_bytes(std::span(text))});
}

void rename_file(const std::filesystem::path& path, const std::filesystem::path& name) {
  std::error_code error;
  std::filesystem::rename(path, name, error);
  if (error) fail_with_reason("write", name, error.value());
  sync_folder_of(name);
}

void sync_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail_with_reason("sync", path, errno);
  if (const int error = sync_and_close(descriptor); error != 0)
    fail_with_reason("sync", path, error);
}

void check_replaceable(const std::filesystem::path& path) {
  const TemporaryFile beside(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) fail_with_reason("write", path, EISDIR);
}

}  // namespace vla
