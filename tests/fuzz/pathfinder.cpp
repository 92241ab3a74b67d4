#include "tasks/pathfinder.hpp"

#include "framework/file.hpp"
#include "tests/fuzz/use.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

// The input is the first file of metadata, beside that of twelve images.
bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file = [] {
    write_pathfinder(folder.path(), pathfinder_rule(32), 12, Rng(1));
    std::filesystem::rename(folder / "metadata/0.npy", folder / "metadata/1.npy");
    write_text(folder / "imgs/0/empty.png", "");
    return ChangingFile(folder / "metadata/0.npy");
  }();
  file.hold(bytes);
  const auto task = loaded([] { return Pathfinder({.data = folder.path().string()}); });
  if (task) use(*task, true);
  return task.has_value();
}

std::vector<std::string> seeds() {
  return {"imgs/0 sample_0.png 0 1 1 14 4\nimgs/0 empty.png 1 0\n",
          "imgs/0   sample_11.png 7 0\r\n./imgs 0/sample_3.png 3 1"};
}

const AddTarget added({"pathfinder", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
