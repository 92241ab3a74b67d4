#include "tools/interchange.hpp"

#include "framework/file.hpp"
#include "framework/npz.hpp"
#include "tools/settings.hpp"

namespace vla {
namespace {

bool is_npz(const std::filesystem::path& path) {
  const std::string ending = path.extension().string();
  check(ending == ".npz" || ending == ".safetensors", path.string(), ": the ending '", ending,
        "' is not allowed; .safetensors or .npz");
  return ending == ".npz";
}

}  // namespace

bool are_reference_names(const std::string& names) {
  check_word("names", names);
  return names == "reference";
}

TensorFile read_tensors(const std::filesystem::path& path) {
  return is_npz(path) ? read_npz(path) : read_safetensors(path);
}

void write_tensors(const std::filesystem::path& path, const TensorFile& file) {
  if (is_npz(path))
    write_npz(path, file.tensors);
  else
    write_safetensors(path, file);
}

void check_writable_tensors(const std::filesystem::path& path) {
  is_npz(path);
  check_replaceable(path);
}

}  // namespace vla
