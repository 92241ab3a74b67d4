#include "framework/safetensors.hpp"

#include "framework/file.hpp"
#include "tests/fuzz/use.hpp"
#include "tests/npy_files.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "x.safetensors");
  file.hold(bytes);
  const auto from_file = loaded([] { return read_safetensors(file.path()); });
  const auto from_memory = loaded(
      [&] { return parse_safetensors(std::as_bytes(std::span(bytes.data(), bytes.size()))); });
  const auto metadata = loaded([] { return read_safetensors_metadata(file.path()); });
  require(from_file.has_value() == from_memory.has_value() &&
              from_file.has_value() == metadata.has_value(),
          "file, memory and metadata differ");
  if (!from_file) return false;
  require(from_file->metadata == *metadata, "the metadata differ");
  require(from_file->tensors.size() == from_memory->tensors.size(), "file and memory differ");
  for (std::size_t i = 0; i < from_file->tensors.size(); ++i) {
    const auto& [name, tensor] = from_file->tensors[i];
    use(tensor);
    require(same_bits(tensor, from_memory->tensors[i].second), "file and memory differ");
    require(from_file->find(name) == &tensor, "a name is there twice");
  }
  return true;
}

std::vector<std::string> seeds() {
  const TemporaryDirectory folder;
  const auto written = [&](const TensorFile& file) {
    write_safetensors(folder / "x", file);
    return read_text(folder / "x");
  };
  return {written({}), written({.metadata = {{"key", "\xCE\xBB \" \\ \n"}, {"", "\x01"}}}),
          written({.tensors = {{"w", Tensor::full({2}, 1, DType::float32)}}}),
          written({.tensors = varied_tensors(), .metadata = {{"step", "3"}}})};
}

const AddTarget added({"safetensors", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
