#include "tasks/imdb.hpp"

#include "tests/fuzz/use.hpp"
#include "tests/loader_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

// The input up to a line feed is the name of a review, the rest is what it says.
bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file = [] {
    write_imdb_files(folder.path(), 1, Rng(1));
    return ChangingFile(folder / "train/neg/0_1.txt");
  }();
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  const std::string name(bytes.substr(0, end));
  if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
      name.find_first_of(std::string_view("/\0", 2)) != name.npos)
    return false;  // no file has such a name
  file.rename(name);
  file.hold(bytes.substr(std::min(end + 1, bytes.size())));
  const auto task = loaded([] { return Imdb({.data = folder.path().string(), .length = 64}); });
  if (task) use(*task);
  return task.has_value();
}

std::vector<std::string> seeds() {
  return {"7_2.txt\nNot a good one.", "012_4.txt\n\xC3\xA4\r\n" + std::string(99, '\0')};
}

const AddTarget added({"imdb", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
