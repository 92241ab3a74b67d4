// A parser under attack: what every fuzz target has, and the table in which the tests find it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/check.hpp"

namespace vla::fuzz {

/// One file of tests/fuzz each. A parser may take an input or refuse it by Error. Whatever else it
/// throws, and all that goes wrong with what it took, leaves `loads` as an exception: a finding.
struct Target {
  std::string name;
  /// Whether the parser takes these bytes.
  bool (*loads)(std::string_view bytes);
  /// Inputs that it takes, to begin with.
  std::vector<std::string> (*seeds)();
};

/// The targets in the program: one in a fuzzer, all in the tests.
inline std::vector<Target>& targets() {
  static std::vector<Target> all;
  return all;
}

struct AddTarget {
  explicit AddTarget(Target target) { targets().push_back(std::move(target)); }
};

/// Throws what no parser may throw, unless the condition holds. `what` is a view, so that what goes
/// on does not pay for a message.
inline void require(bool condition, std::string_view what) {
  if (!condition) throw std::logic_error(std::string(what));
}

/// What `load` returns, or nothing where it refuses by an Error of one line that can be read.
template <class Load>
auto loaded(Load load) -> std::optional<decltype(load())> {
  constexpr std::size_t kLongest = 2000;
  try {
    return load();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    require(!message.empty() && message.size() <= kLongest &&
                message.find_first_of(std::string_view("\n\0", 2)) == message.npos,
            "the message is not one line: " + std::string(message.substr(0, kLongest)));
    return std::nullopt;
  }
}

/// A file whose content changes from one input to the next: a new one for each would cost more than
/// most parsers take.
class ChangingFile {
 public:
  explicit ChangingFile(std::filesystem::path path)
      : path_(std::move(path)),
        descriptor_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    require(descriptor_ >= 0, "cannot make " + path_.string());
  }
  ~ChangingFile() { ::close(descriptor_); }
  ChangingFile(const ChangingFile&) = delete;
  ChangingFile& operator=(const ChangingFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void hold(std::string_view bytes) {
    const auto size = static_cast<ssize_t>(bytes.size());
    require(::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == size &&
                ::ftruncate(descriptor_, size) == 0,
            "cannot write " + path_.string());
  }
  /// Gives it another name in its folder.
  void rename(const std::string& name) {
    const std::filesystem::path renamed = path_.parent_path() / name;
    std::filesystem::rename(path_, renamed);
    path_ = renamed;
  }

 private:
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace vla::fuzz
