#include "framework/npy.hpp"

#include "framework/file.hpp"
#include "tests/fuzz/use.hpp"
#include "tests/npy_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "x.npy");
  file.hold(bytes);
  const auto from_file = loaded([] { return read_npy(file.path()); });
  const auto from_memory =
      loaded([&] { return parse_npy(std::as_bytes(std::span(bytes.data(), bytes.size()))); });
  require(from_file.has_value() == from_memory.has_value(), "file and memory differ");
  if (!from_file) return false;
  use(*from_file);
  require(same_bits(*from_file, *from_memory), "file and memory differ");
  return true;
}

std::vector<std::string> seeds() {
  const TemporaryDirectory folder;
  std::vector<std::string> result;
  for (const auto& [name, tensor] : varied_tensors()) {
    write_npy(folder / "x.npy", tensor);
    result.push_back(read_text(folder / "x.npy"));
  }
  result.push_back(
      npy_bytes(R"({"shape":(2,3),"fortran_order":True,"descr":"|u1"})", "abcdef", '\2'));
  return result;
}

const AddTarget added({"npy", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
