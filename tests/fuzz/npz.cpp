#include "framework/npz.hpp"

#include "framework/file.hpp"
#include "tests/archives.hpp"
#include "tests/fuzz/use.hpp"
#include "tests/npy_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "x.npz");
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 24;
  file.hold(bytes);
  const auto read = loaded([] { return read_npz(file.path(), {.limit = kLimit}); });
  if (!read) return false;
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : read->tensors) {
    use(tensor);
    total += tensor.bytes();
    require(read->find(name) == &tensor, "a name is there twice");
  }
  require(total <= kLimit, "the limit is passed");
  return true;
}

std::vector<std::string> seeds() {
  const TemporaryDirectory folder;
  std::vector<std::string> result;
  write_npz(folder / "x", varied_tensors());
  result.push_back(read_text(folder / "x"));
  const std::string array =
      npy_bytes("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 9)}", std::string(18, 'a'));
  for (const zip_int32_t method : {ZIP_CM_STORE, ZIP_CM_DEFLATE}) {
    write_archive(folder / "x", {{"a.npy", array}}, method);
    result.push_back(read_text(folder / "x"));
  }
  return result;
}

const AddTarget added({"npz", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
