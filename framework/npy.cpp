#include "framework/npy.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "framework/file.hpp"
#include "framework/npy_header.hpp"
#include "framework/tensor_bytes.hpp"

namespace vla {
namespace {

static_assert(std::endian::native == std::endian::little, "what is written is little-endian");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kLongestHeader = 65536;
constexpr std::size_t kAlignment = 64;  // of the data, as numpy has it

// The same array in C order: `read` has its elements with the first axis running fastest.
Tensor from_fortran_order(const Tensor& read) {
  const Shape& shape = read.shape();
  Tensor result(shape, read.dtype());
  std::vector<Index> at(static_cast<std::size_t>(shape.rank()), 0), strides;
  for (Index stride = 1; const Index size : shape) {
    strides.push_back(stride);
    stride *= size;
  }
  dispatch_any(read.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto from = read.values<T>();
    std::size_t place = 0;
    for (T& element : result.mutable_values<T>()) {
      element = from[place];
      for (std::size_t axis = at.size(); axis-- > 0;) {
        place += static_cast<std::size_t>(strides[axis]);
        if (++at[axis] < shape[static_cast<int>(axis)]) break;
        place -= static_cast<std::size_t>(at[axis] * strides[axis]);
        at[axis] = 0;
      }
    }
  });
  return result;
}

}  // namespace

Tensor read_npy_array(const ReadNext& read, std::uint64_t bytes, const std::string& source) {
  std::uint64_t left = bytes;
  const auto take = [&](std::span<std::byte> into, const char* what) {
    check(into.size() <= left, source, ": ", bytes, " bytes are too few for ", what,
          " of an array in numpy's format");
    read(into);
    left -= into.size();
  };
  std::array<char, kMagic.size() + 2> start{};
  take(std::as_writable_bytes(std::span(start)), "the start");
  check(std::string_view(start.data(), kMagic.size()) == kMagic, source,
        ": not in numpy's format: it does not start with \\x93NUMPY");
  const int major = start[kMagic.size()], minor = start[kMagic.size() + 1];
  check(major >= 1 && major <= 3 && minor == 0, source, ": version ", major, ".", minor,
        " of numpy's format is not known; 1.0, 2.0 or 3.0 is");
  std::uint32_t length = 0;  // of two bytes in version 1
  take(std::as_writable_bytes(std::span(&length, 1)).first(major == 1 ? 2 : 4), "the start");
  check(length <= kLongestHeader, source, ": a header of ", length, " bytes is too long; at most ",
        kLongestHeader);
  std::string text(length, '\0');
  take(std::as_writable_bytes(std::span(text)), "the header");
  const NpyHeader header = parse_npy_header(text, source);
  const std::uint64_t element = element_bytes(header.dtype);
  const auto elements = static_cast<std::uint64_t>(header.shape.elements());
  check(left % element == 0 && left / element == elements, source, ": ", left,
        " bytes of data where ", header.dtype, header.shape, " has ", elements, " elements of ",
        element, " bytes");
  Tensor tensor(header.shape, header.dtype);
  take(writable_bytes(tensor), "the data");
  return header.fortran_order && tensor.rank() > 1 ? from_fortran_order(tensor) : tensor;
}

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& source) {
  std::span<const std::byte> rest = bytes;
  const auto read = [&](std::span<std::byte> into) {
    std::ranges::copy(rest.first(into.size()), into.begin());
    rest = rest.subspan(into.size());
  };
  return read_npy_array(read, bytes.size(), source);
}

Tensor read_npy(const std::filesystem::path& path) {
  const InputFile file(path);
  std::uint64_t position = 0;
  const auto read = [&](std::span<std::byte> into) {
    file.read(position, into);
    position += into.size();
  };
  return read_npy_array(read, file.bytes(), path.string());
}

Tensor as_npy_array(const Tensor& tensor) {
  check(tensor.defined(), "npy: the tensor is not defined");
  const Tensor on_cpu = tensor.to(Device{});
  return on_cpu.dtype() == DType::bfloat16 ? on_cpu.to(DType::float32) : on_cpu;
}

std::string npy_start(const Tensor& tensor) {
  std::string text = format_npy_header(tensor.dtype(), tensor.shape());
  const std::size_t before = kMagic.size() + 4;
  text.append((kAlignment - (before + text.size() + 1) % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string start(kMagic);
  start += {'\1', '\0', static_cast<char>(text.size() & 0xFF), static_cast<char>(text.size() >> 8)};
  return start + text;
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const Tensor array = as_npy_array(tensor);
  const std::string start = npy_start(array);
  replace_file(path, {std::as_bytes(std::span(start)), readable_bytes(array)});
}

}  // namespace vla
