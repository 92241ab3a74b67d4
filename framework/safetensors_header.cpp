#include "framework/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

namespace vla {
namespace {

constexpr std::size_t kMostAxes = 64;  // as in NumPy; keeps messages that print a shape readable
constexpr std::string_view kMetadataName = "__metadata__";

struct TypeName {
  std::string_view name;
  DType dtype;
};
constexpr std::array<TypeName, 4> kTypes = {{{"F32", DType::float32},
                                             {"F64", DType::float64},
                                             {"I64", DType::int64},
                                             {"U8", DType::uint8}}};

// An entry as far as it has been read: nothing in it has been checked against anything else.
struct RawEntry {
  std::string name;
  std::optional<DType> dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

// Builds entries from the events of nlohmann's parser, which keeps a stack of its own and so does
// not recurse. An event that does not belong where it comes is an error, so nothing nests deeper
// than file, entry, list.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& source) : source_(source) {}
  const std::vector<RawEntry>& entries() const { return entries_; }
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(std::int64_t) override { unexpected("a negative number"); }
  bool number_float(double, const std::string&) override {
    unexpected("a number that is not a 64-bit integer");
  }
  bool binary(nlohmann::json::binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::list) unexpected("a number");
    if (list_->size() == kMostAxes) fail_at(field_, " has more than ", kMostAxes, " numbers");
    list_->push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata) {
      metadata_.emplace(key_, std::move(value));
      return true;
    }
    if (place_ != Place::entry || field_ != "dtype") unexpected("a string");
    auto type = std::ranges::find(kTypes, value, &TypeName::name);
    if (type == kTypes.end())
      fail_at("dtype ", quote_name(value), " is not supported; allowed: F32, F64, I64, U8");
    entries_.back().dtype = type->dtype;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::start) {
      place_ = Place::file;
    } else if (place_ == Place::file && key_ == kMetadataName) {
      place_ = Place::metadata;
    } else if (place_ == Place::file) {
      place_ = Place::entry;
      entries_.emplace_back().name = key_;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(std::string& value) override {
    if (place_ == Place::entry) {
      const RawEntry& entry = entries_.back();
      field_ = value;
      if (field_ != "dtype" && field_ != "shape" && field_ != "data_offsets")
        fail_at("unknown field ", quote_name(field_), "; allowed: dtype, shape, data_offsets");
      if ((field_ == "dtype" && entry.dtype) || (field_ == "shape" && entry.shape) ||
          (field_ == "data_offsets" && entry.offsets))
        fail_at("the field '", field_, "' is there twice");
      return true;
    }
    key_ = value;
    if (place_ == Place::metadata && metadata_.contains(key_))
      fail(source_, ": ", kMetadataName, " has ", quote_name(key_), " twice");
    if (place_ == Place::file && !names_.insert(key_).second)
      fail(source_, ": the header has ", quote_name(key_), " twice");
    return true;
  }

  bool end_object() override {
    if (place_ == Place::entry) {
      const RawEntry& entry = entries_.back();
      if (!entry.dtype) fail_at("the field 'dtype' is missing");
      if (!entry.shape) fail_at("the field 'shape' is missing");
      if (!entry.offsets) fail_at("the field 'data_offsets' is missing");
    }
    place_ = Place::file;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::entry || field_ == "dtype") unexpected("an array");
    RawEntry& entry = entries_.back();
    list_ = field_ == "shape" ? &entry.shape.emplace() : &entry.offsets.emplace();
    place_ = Place::list;
    return true;
  }

  bool end_array() override {
    place_ = Place::entry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    // The library's message without its number, and without what was read last, which may be any
    // bytes and any number of them.
    std::string_view reason = error.what();
    reason.remove_prefix(std::min(reason.find("] ") + 2, reason.size()));
    reason = reason.substr(0, reason.find("; last read")).substr(0, 150);
    fail(source_, ": the header is not valid JSON at its byte ", position, ": ", reason);
  }

 private:
  enum class Place { start, file, metadata, entry, list };

  template <class... Parts>
  [[noreturn]] void fail_at(const Parts&... parts) const {
    fail(source_, ": tensor ", quote_name(key_), ": ", parts...);
  }

  [[noreturn]] void unexpected(std::string_view what) const {
    switch (place_) {
      case Place::start:
        fail(source_, ": the header is ", what, "; it must be an object");
      case Place::metadata:
        fail(source_, ": ", kMetadataName, " has ", what, " under ", quote_name(key_),
             "; only strings are allowed");
      case Place::entry:
        fail_at(field_, " is ", what, "; it must be ",
                field_ == "dtype" ? "a string" : "an array of unsigned integers");
      case Place::list:
        fail_at(field_, " holds ", what, "; only unsigned integers are allowed");
      case Place::file:
        break;
    }
    if (key_ == kMetadataName)
      fail(source_, ": ", kMetadataName, " is ", what, "; it must be an object of strings");
    fail_at("it is ", what, "; it must be an object with dtype, shape and data_offsets");
  }

  const std::string& source_;
  std::vector<RawEntry> entries_;
  std::map<std::string, std::string> metadata_;
  Place place_ = Place::start;
  std::string key_;    // in the file's object or in the metadata
  std::string field_;  // in an entry
  std::vector<std::uint64_t>* list_ = nullptr;
  std::unordered_set<std::string> names_;
};

// The bytes that shape and type need, or nothing if they cannot be counted.
std::optional<std::uint64_t> needed_bytes(const RawEntry& entry) {
  constexpr std::uint64_t kMost = std::numeric_limits<Index>::max();
  std::uint64_t bytes = element_bytes(*entry.dtype);
  for (std::uint64_t size : *entry.shape)
    if (size > kMost || __builtin_mul_overflow(bytes, size, &bytes) || bytes > kMost) return {};
  return bytes;
}

// Checks an entry whose data must start at `position`, and returns where it ends.
std::uint64_t checked_end(const RawEntry& entry, std::uint64_t position, std::uint64_t data_bytes,
                          const std::string& source) {
  auto fail_entry = [&](const auto&... parts) {
    fail(source, ": tensor ", quote_name(entry.name), ": ", parts...);
  };
  const std::vector<std::uint64_t>& offsets = *entry.offsets;
  if (offsets.size() != 2)
    fail_entry("data_offsets has ", offsets.size(), " numbers; 2 are needed");
  if (offsets[0] > offsets[1] || offsets[1] > data_bytes)
    fail_entry("data_offsets ", offsets[0], " to ", offsets[1],
               " do not lie within the data, 0 to ", data_bytes);
  if (offsets[0] != position)
    fail_entry("its data starts at ", offsets[0], " and the tensor before it ends at ", position,
               "; offsets must rise without hole or overlap");
  const std::optional<std::uint64_t> bytes = needed_bytes(entry);
  if (!bytes) fail_entry("its shape has more elements than 63 bits can count in bytes");
  if (*bytes != offsets[1] - offsets[0])
    fail_entry("shape and dtype need ", *bytes, " bytes, data_offsets give ",
               offsets[1] - offsets[0]);
  return offsets[1];
}

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(quote_name(text), " is not UTF-8 text");
  }
}

// Not by a stream, whose locale may put separators into numbers.
std::string json_numbers(const std::vector<Index>& values) {
  std::string text = "[";
  for (Index value : values) {
    if (text.back() != '[') text += ',';
    text += std::to_string(value);
  }
  return text + "]";
}

}  // namespace

TensorHeader parse_header(const std::string& text, std::uint64_t data_bytes,
                          const std::string& source) {
  // The parser would skip a byte order mark and take a zero byte for the end of the text.
  check(text.starts_with('{'), source, ": the header does not start with '{'");
  check(text.find('\0') == std::string::npos, source, ": the header has a zero byte");
  HeaderReader reader(source);
  nlohmann::json::sax_parse(text, &reader);

  TensorHeader header{.metadata = reader.take_metadata()};
  std::uint64_t position = 0;
  for (const RawEntry& entry : reader.entries()) {
    position = checked_end(entry, position, data_bytes, source);
    header.entries.push_back(
        {.name = entry.name,
         .dtype = *entry.dtype,
         .shape = Shape(std::vector<Index>(entry.shape->begin(), entry.shape->end()))});
  }
  check(position == data_bytes, source, ": the tensors end at byte ", position,
        " of the data, which has ", data_bytes, " bytes; no byte may be left over");
  return header;
}

std::string format_header(const TensorHeader& header) {
  std::string text = "{";
  auto separate = [&] {
    if (text.back() != '{') text += ',';
  };
  if (!header.metadata.empty()) {
    text.append(json_string(std::string(kMetadataName))).append(":{");
    for (const auto& [key, value] : header.metadata) {
      separate();
      text.append(json_string(key)).append(":").append(json_string(value));
    }
    text += '}';
  }
  std::unordered_set<std::string_view> names = {kMetadataName};
  Index position = 0;
  for (const auto& [name, dtype, shape] : header.entries) {
    if (!names.insert(name).second)
      fail(quote_name(name), " is reserved, or the name of two tensors");
    if (shape.rank() > static_cast<int>(kMostAxes))
      fail("tensor ", quote_name(name), " has ", shape.rank(), " axes; at most ", kMostAxes);
    const auto* type = std::ranges::find(kTypes, dtype, &TypeName::dtype);
    if (type == std::end(kTypes))
      fail("tensor ", quote_name(name), " is ", dtype,
           "; float32, float64, int64 or uint8 is needed");
    const Index begin = position;
    position += shape.elements() * static_cast<Index>(element_bytes(dtype));
    separate();
    text.append(json_string(name)).append(":{\"dtype\":\"");
    text.append(type->name);
    text.append("\",\"shape\":").append(json_numbers(shape.sizes()));
    text.append(",\"data_offsets\":").append(json_numbers({begin, position})).append("}");
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

std::string quote_name(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::size_t length = std::min(text.size(), kLongest);
  // Not in the middle of a UTF-8 character.
  while (length > 0 && length < text.size() && (text[length] & 0xC0) == 0x80) --length;
  std::string result = "'";
  for (char character : text.substr(0, length)) {
    const auto code = static_cast<unsigned char>(character);
    if (code < 0x20 || code == 0x7F)
      result += concatenate("\\x", kDigits[code >> 4], kDigits[code & 15]);
    else
      result += character;
  }
  return result + (length < text.size() ? "...'" : "'");
}

}  // namespace vla
