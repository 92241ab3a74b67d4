#include "tasks/cifar10.hpp"

#include "tests/fuzz/use.hpp"
#include "tests/loader_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

// The input is both a file to learn from and the one that is held out.
bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file = [] {
    write_cifar10_files(folder.path(), 1, Rng(1));
    std::filesystem::remove(folder / "test_batch.bin");
    std::filesystem::create_symlink("data_batch_1.bin", folder / "test_batch.bin");
    return ChangingFile(folder / "data_batch_1.bin");
  }();
  file.hold(bytes);
  const auto task =
      loaded([] { return Cifar10({.data = folder.path().string(), .held_out = "test"}); });
  if (task) use(*task);
  return task.has_value();
}

std::vector<std::string> seeds() {
  Rng rng(2);
  return {cifar10_record(9, rng)};
}

const AddTarget added({"cifar10", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
