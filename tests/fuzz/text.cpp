#include "tasks/text.hpp"

#include "tests/fuzz/use.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "corpus");
  file.hold(bytes);
  const auto task =
      loaded([] { return Text({.file = file.path().string(), .length = 4, .valid_share = 0.3}); });
  if (!task) return false;
  use(*task);
  require(task->training_part().size() + task->valid_part().size() == bytes.size(),
          "the parts are not the file");
  return true;
}

std::vector<std::string> seeds() { return {"Say it once, and say it again.\n"}; }

const AddTarget added({"text", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
