#include "tasks/listops.hpp"

#include "tests/fuzz/use.hpp"
#include "tests/loader_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

const std::string kFirstLine = "Source\tTarget\n";

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "basic_train.tsv");
  static const bool made = [] {
    make_file(folder / "basic_val.tsv", kFirstLine + "( ( ( [MAX 3 ) 4 ) ] )\t4\n");
    return true;
  }();
  static_cast<void>(made);
  file.hold(bytes);
  const auto task = loaded([] { return ListOps({.length = 64, .data = folder.path().string()}); });
  if (task) use(*task);
  return task.has_value();
}

std::vector<std::string> seeds() {
  return {kFirstLine + "( ( ( [MIN 3 ) 4 ) ] )\t3\n7\t7\n",
          kFirstLine + "[SM 9 [MED 1 2 3 ] [MAX 0 5 ] ]\t6\r\n( ( [MED 4 ) ] )\t4"};
}

const AddTarget added({"listops", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
