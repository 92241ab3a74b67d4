#include "framework/npy_header.hpp"

#include <charconv>
#include <set>
#include <vector>

#include "framework/safetensors_header.hpp"

namespace vla {
namespace {

// A reader of the little of Python's syntax that headers are written in.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  void skip_spaces() {
    while (!text_.empty() && text_.front() == ' ') text_.remove_prefix(1);
  }
  bool takes(std::string_view word) {
    skip_spaces();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  void expect(std::string_view word, const char* where) {
    if (!takes(word)) fail_at(concatenate("'", word, "' ", where));
  }
  bool at_end() {
    skip_spaces();
    return text_.empty();
  }

  std::string quoted() {
    const std::string_view mark = takes("'") ? "'" : "\"";
    if (mark == "\"") expect(mark, "before a name");
    const std::size_t end = text_.find(mark);
    if (end == std::string_view::npos) fail_at("the end of a name");
    const std::string word(text_.substr(0, end));
    text_.remove_prefix(end + 1);
    return word;
  }
  bool truth() {
    if (takes("True")) return true;
    expect("False", "or 'True' for fortran_order");
    return false;
  }
  Shape shape() {
    expect("(", "before the shape");
    std::vector<Index> sizes;
    while (!takes(")")) {
      if (!sizes.empty()) expect(",", "between sizes");
      if (takes(")")) break;
      sizes.push_back(size());
      if (sizes.size() == 1 && !text_.starts_with(",")) fail_at("',' after the first size");
      check(sizes.size() <= kMostAxes, source_, ": more than ", kMostAxes, " axes");
    }
    try {
      return Shape(sizes);
    } catch (const Error& error) {
      fail(source_, ": ", error.what());
    }
  }
  [[noreturn]] void fail_at(const std::string& needed) const {
    fail(source_, ": the header is not one of numpy's: ", quote_name(text_.substr(0, 40)),
         " where there must be ", needed);
  }

 private:
  static constexpr std::size_t kMostAxes = 64;  // as numpy

  Index size() {
    skip_spaces();
    Index value = 0;
    const auto [stop, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0) fail_at("a size of 64 bits");
    text_.remove_prefix(static_cast<std::size_t>(stop - text_.data()));
    skip_spaces();
    return value;
  }

  std::string_view text_;
  const std::string& source_;
};

DType element_type(const std::string& found, const std::string& source) {
  for (const auto& [descr, dtype] : {std::pair{"<f4", DType::float32},
                                     {"<f8", DType::float64},
                                     {"<i8", DType::int64},
                                     {"|u1", DType::uint8}})
    if (found == descr) return dtype;
  const std::string allowed = "; allowed: '<f4', '<f8', '<i8' and '|u1'";
  const char kind = found.size() > 1 ? found[1] : ' ';
  if (kind == 'O')
    fail(source, ": element type ", quote_name(found), " is of Python objects, which are not read",
         allowed);
  if (kind == 'V')
    fail(source, ": element type ", quote_name(found), " is of records, which are not read",
         allowed);
  if (found.starts_with('>'))
    fail(source, ": element type ", quote_name(found), " is big-endian, which is not read",
         allowed);
  fail(source, ": element type ", quote_name(found), " is not read", allowed);
}

const char* descr_of(DType dtype) {
  if (dtype == DType::float32) return "<f4";
  if (dtype == DType::float64) return "<f8";
  if (dtype == DType::int64) return "<i8";
  check(dtype == DType::uint8, "npy: numpy has no element type ", dtype);
  return "|u1";
}

}  // namespace

NpyHeader parse_npy_header(std::string_view text, const std::string& source) {
  check(text.ends_with('\n'), source, ": the header does not end with a newline");
  HeaderText rest(text.substr(0, text.size() - 1), source);
  NpyHeader header;
  std::set<std::string> seen;
  rest.expect("{", "at the start");
  while (!rest.takes("}")) {
    if (!seen.empty()) rest.expect(",", "between entries");
    if (rest.takes("}")) break;
    const std::string key = rest.quoted();
    check(seen.insert(key).second, source, ": the header has ", quote_name(key), " twice");
    rest.expect(":", "after a name");
    if (key == "descr") {
      if (rest.takes("[")) fail(source, ": the elements are records, which are not read");
      header.dtype = element_type(rest.quoted(), source);
    } else if (key == "fortran_order") {
      header.fortran_order = rest.truth();
    } else if (key == "shape") {
      header.shape = rest.shape();
    } else {
      fail(source, ": the header has an unknown entry ", quote_name(key));
    }
  }
  if (!rest.at_end()) rest.fail_at("nothing but spaces");
  for (const char* key : {"descr", "fortran_order", "shape"})
    check(seen.contains(key), source, ": the header has no '", key, "'");
  return header;
}

std::string format_npy_header(DType dtype, const Shape& shape) {
  std::string sizes;
  for (const Index size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  if (shape.rank() == 1) sizes += ",";
  return concatenate("{'descr': '", descr_of(dtype), "', 'fortran_order': False, 'shape': (", sizes,
                     "), }");
}

}  // namespace vla
