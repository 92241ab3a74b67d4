#include "framework/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>

#include "framework/file.hpp"
#include "framework/safetensors_header.hpp"
#include "framework/tensor_bytes.hpp"

namespace vla {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;

// Where the bytes of a file come from.
using ReadBytes = std::function<void(std::uint64_t offset, std::span<std::byte> into)>;

// Reads and checks everything but the data, and sets `data_start` to where that begins.
TensorHeader read_header(const ReadBytes& read, std::uint64_t file_bytes, const std::string& source,
                         std::uint64_t& data_start) {
  check(file_bytes >= kLengthBytes, source, ": ", file_bytes,
        " bytes are too few; a safetensors file starts with 8 bytes of header length");
  std::uint64_t length = 0;
  read(0, std::as_writable_bytes(std::span(&length, 1)));
  check(length <= kLongestHeader, source, ": a header of ", length, " bytes is too long; at most ",
        kLongestHeader);
  check(length <= file_bytes - kLengthBytes, source, ": a header of ", length,
        " bytes does not fit into a file of ", file_bytes);
  std::string text(length, '\0');
  read(kLengthBytes, std::as_writable_bytes(std::span(text)));
  data_start = kLengthBytes + length;
  return parse_header(text, file_bytes - data_start, source);
}

TensorFile load(const ReadBytes& read, std::uint64_t file_bytes, const std::string& source) {
  std::uint64_t position = 0;
  TensorHeader header = read_header(read, file_bytes, source, position);
  TensorFile file{.metadata = std::move(header.metadata), .source = source};
  file.tensors.reserve(header.entries.size());
  for (TensorEntry& entry : header.entries) {
    Tensor tensor(entry.shape, entry.dtype);
    read(position, writable_bytes(tensor));
    position += tensor.bytes();
    file.tensors.emplace_back(std::move(entry.name), std::move(tensor));
  }
  return file;
}

ReadBytes reader(const InputFile& file) {
  return [&file](std::uint64_t offset, std::span<std::byte> into) { file.read(offset, into); };
}

// The length and the header that go before the data.
std::string file_start(const TensorHeader& header, const std::filesystem::path& path) {
  try {
    const std::string text = format_header(header);
    check(text.size() <= kLongestHeader, "a header of ", text.size(),
          " bytes is too long; at most ", kLongestHeader);
    std::string start(kLengthBytes, '\0');
    const std::uint64_t length = text.size();
    std::ranges::copy(std::as_bytes(std::span(&length, 1)),
                      std::as_writable_bytes(std::span(start)).begin());
    return start + text;
  } catch (const Error& error) {
    fail("cannot write ", path.string(), ": ", error.what());
  }
}

}  // namespace

const Tensor* TensorFile::find(std::string_view name) const {
  auto found = std::ranges::find(tensors, name, &std::pair<std::string, Tensor>::first);
  return found == tensors.end() ? nullptr : &found->second;
}

const Tensor& TensorFile::at(std::string_view name) const {
  const Tensor* tensor = find(name);
  if (!tensor) fail(source, ": no tensor is named ", quote_name(name));
  return *tensor;
}

const std::string& TensorFile::text(const std::string& name) const {
  auto found = metadata.find(name);
  if (found == metadata.end()) fail(source, ": the metadata has no ", quote_name(name));
  return found->second;
}

TensorFile read_safetensors(const std::filesystem::path& path) {
  const InputFile file(path);
  return load(reader(file), file.bytes(), path.string());
}

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& source) {
  auto read = [&](std::uint64_t offset, std::span<std::byte> into) {
    std::ranges::copy(bytes.subspan(offset, into.size()), into.begin());
  };
  return load(read, bytes.size(), source);
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  const InputFile file(path);
  std::uint64_t data_start = 0;
  return read_header(reader(file), file.bytes(), path.string(), data_start).metadata;
}

void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    if (!tensor.defined())
      fail("cannot write ", path.string(), ": tensor ", quote_name(name), " is not defined");
    tensors.emplace_back(name, tensor.to(Device{}));
  }
  std::ranges::stable_sort(tensors, std::greater{},
                           [](const auto& named) { return element_bytes(named.second.dtype()); });
  TensorHeader header{.metadata = file.metadata};
  for (const auto& [name, tensor] : tensors)
    header.entries.push_back({name, tensor.dtype(), tensor.shape()});
  const std::string start = file_start(header, path);
  std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(start))};
  for (const auto& named : tensors) pieces.push_back(readable_bytes(named.second));
  replace_file(path, pieces);
}

}  // namespace vla
