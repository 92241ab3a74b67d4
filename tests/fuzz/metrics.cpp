#include "tests/fuzz/target.hpp"
#include "tests/temporary_directory.hpp"
#include "tools/run.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static const RunDirectory run(folder.path());
  static ChangingFile file(run.metrics_path());
  file.hold(bytes);
  const auto lines = loaded([] { return run.metrics(); });
  if (!lines) return false;
  require(lines->size() <= bytes.size(), "more lines than the file can have");
  return true;
}

std::vector<std::string> seeds() {
  const std::string line =
      R"({"split":"train","step":4,"loss":0.5,"accuracy":1,"tokens_per_second":1e3)";
  return {line + "}\n" + line + R"(,"bits_per_byte":2.5,"more":[1]})" + "\n"};
}

const AddTarget added({"metrics", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
