#include "tasks/aan.hpp"

#include "tests/fuzz/use.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

// The input is both the file to learn from and the one that is held out.
bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file = [] {
    std::filesystem::create_symlink("new_aan_pairs.train.tsv", folder / "new_aan_pairs.eval.tsv");
    return ChangingFile(folder / "new_aan_pairs.train.tsv");
  }();
  file.hold(bytes);
  const auto task = loaded([] { return Aan({.data = folder.path().string(), .length = 64}); });
  if (task) use(*task);
  return task.has_value();
}

std::vector<std::string> seeds() {
  return {"1.0\tP1\tP2\tone text\tanother\n0.0\tP3\tP1\t\t" + std::string(99, 'x') + "\n",
          "0\t\t\t\t\r\n1\ta\tb\t\xC3\xA4\t\"quoted"};
}

const AddTarget added({"aan", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
