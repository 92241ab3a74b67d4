#include "framework/npz.hpp"

#include <zip.h>

#include <memory>
#include <set>

#include "framework/file.hpp"
#include "framework/npy.hpp"
#include "framework/safetensors_header.hpp"
#include "framework/tensor_bytes.hpp"

namespace vla {
namespace {

constexpr std::string_view kEnding = ".npy";
// Deflate packs at most 258 bytes into 2 bits.
constexpr std::uint64_t kMostPacked = 1032;

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;
using Member = std::unique_ptr<zip_file_t, decltype(&zip_fclose)>;

std::string reason(int code) {
  if (code == ZIP_ER_EXISTS) return "two members have one name";
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

Archive open_archive(const std::filesystem::path& path) {
  const InputFile readable(path);  // or says why not
  int error = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &error);
  if (archive == nullptr)
    fail(path.string(), ": not a zip archive that can be read: ", reason(error));
  return {archive, zip_discard};
}

// What the archive says of a member, as far as it can be so.
zip_stat_t checked_member(zip_t* archive, zip_uint64_t index, std::uint64_t limit,
                          const std::string& source) {
  zip_stat_t member;
  zip_stat_init(&member);
  check(zip_stat_index(archive, index, 0, &member) == 0, source, ": member ", index,
        " cannot be read: ", zip_strerror(archive));
  const zip_uint64_t needed =
      ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  check((member.valid & needed) == needed, source, ": member ", index, " has no name or no size");
  const std::string where = concatenate(source, ": member ", quote_name(member.name));
  check(std::string_view(member.name).ends_with(kEnding) && member.name != kEnding, where,
        " is not a .npy file");
  const bool stored = member.comp_method == ZIP_CM_STORE;
  check(stored || member.comp_method == ZIP_CM_DEFLATE, where, " is packed by method ",
        member.comp_method, "; 0 (stored) or 8 (deflate) is allowed");
  check(member.size <= limit, where, " brings the arrays above the limit: ", member.size,
        " bytes where ", limit, " are left");
  check(stored ? member.size == member.comp_size : member.size / kMostPacked <= member.comp_size,
        where, " claims to hold ", member.size, " bytes in ", member.comp_size);
  return member;
}

Tensor read_member(zip_t* archive, zip_uint64_t index, const zip_stat_t& member,
                   const std::string& source) {
  const std::string where = concatenate(source, ": ", quote_name(member.name));
  const Member file(zip_fopen_index(archive, index, 0), zip_fclose);
  check(file != nullptr, where, " cannot be read: ", zip_strerror(archive));
  const auto read_some = [&](void* into, std::uint64_t bytes) {
    const zip_int64_t count = zip_fread(file.get(), into, bytes);
    check(count >= 0, where,
          " cannot be read: ", zip_error_strerror(zip_file_get_error(file.get())));
    return static_cast<std::size_t>(count);
  };
  const auto read = [&](std::span<std::byte> into) {
    while (!into.empty()) {
      const std::size_t count = read_some(into.data(), into.size());
      check(count > 0, where, " ends before its ", member.size, " bytes");
      into = into.subspan(count);
    }
  };
  Tensor tensor = read_npy_array(read, member.size, where);
  char more = 0;  // at the end the checksum is compared
  check(read_some(&more, 1) == 0, where, " is longer than its ", member.size, " bytes");
  return tensor;
}

// The bytes of an archive that is being made.
class ArchiveBytes {
 public:
  ArchiveBytes() : source_(zip_source_buffer_create(nullptr, 0, 0, nullptr)) {
    check(source_ != nullptr, "npz: out of memory");
  }
  ~ArchiveBytes() { zip_source_free(source_); }
  ArchiveBytes(const ArchiveBytes&) = delete;
  ArchiveBytes& operator=(const ArchiveBytes&) = delete;

  Archive open() {
    zip_source_keep(source_);  // the archive frees it once
    zip_t* archive = zip_open_from_source(source_, ZIP_TRUNCATE, nullptr);
    if (archive == nullptr) zip_source_free(source_);
    check(archive != nullptr, "npz: out of memory");
    return {archive, zip_discard};
  }
  std::vector<std::byte> read() {
    zip_stat_t all;
    zip_stat_init(&all);
    check(zip_source_stat(source_, &all) == 0 && zip_source_open(source_) == 0,
          "npz: the archive made cannot be read");
    std::vector<std::byte> bytes(all.size);
    const zip_int64_t count = zip_source_read(source_, bytes.data(), bytes.size());
    zip_source_close(source_);
    check(count == static_cast<zip_int64_t>(bytes.size()), "npz: the archive made cannot be read");
    return bytes;
  }

 private:
  zip_source_t* source_;
};

// Adds a file made of two pieces, which must stay until the archive is closed.
void add(zip_t* archive, const std::string& name, std::span<const std::byte> start,
         std::span<const std::byte> data) {
  constexpr std::uint64_t kFirstDay = 315532800;  // 1980-01-01, the earliest a zip archive knows
  std::vector<zip_buffer_fragment_t> pieces;
  for (const auto piece : {start, data})
    pieces.push_back(
        {reinterpret_cast<zip_uint8_t*>(const_cast<std::byte*>(piece.data())), piece.size()});
  zip_source_t* source =
      zip_source_buffer_fragment(archive, pieces.data(), data.empty() ? 1 : 2, 0);
  check(source != nullptr, "npz: ", quote_name(name), ": ", zip_strerror(archive));
  const zip_int64_t index =
      zip_file_add(archive, (name + std::string(kEnding)).c_str(), source, ZIP_FL_ENC_UTF_8);
  if (index < 0) zip_source_free(source);
  check(index >= 0, "npz: ", quote_name(name), ": ", zip_strerror(archive));
  const auto place = static_cast<zip_uint64_t>(index);
  check(zip_set_file_compression(archive, place, ZIP_CM_STORE, 0) == 0 &&
            zip_file_set_mtime(archive, place, kFirstDay, 0) == 0,
        "npz: ", quote_name(name), ": ", zip_strerror(archive));
}

}  // namespace

TensorFile read_npz(const std::filesystem::path& path, const NpzOptions& options) {
  const Archive archive = open_archive(path);
  TensorFile file{.source = path.string()};
  std::set<std::string> seen;
  std::uint64_t left = options.limit;
  const auto count = static_cast<zip_uint64_t>(zip_get_num_entries(archive.get(), 0));
  for (zip_uint64_t index = 0; index < count; ++index) {
    const zip_stat_t member = checked_member(archive.get(), index, left, file.source);
    std::string name(member.name);
    check(seen.insert(name).second, file.source, ": two members are named ", quote_name(name));
    left -= member.size;
    name.resize(name.size() - kEnding.size());
    file.tensors.emplace_back(name, read_member(archive.get(), index, member, file.source));
  }
  return file;
}

void write_npz(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, Tensor>>& tensors) {
  check(!tensors.empty(), "cannot write ", path.string(), ": a zip archive of nothing");
  std::vector<Tensor> arrays;
  std::vector<std::string> starts;
  std::set<std::string> seen;
  for (const auto& [name, tensor] : tensors) {
    check(!name.empty() && name.find('\0') == std::string::npos && seen.insert(name).second,
          "cannot write ", path.string(), ": the name ", quote_name(name),
          " is empty, has a zero byte or is used twice");
    arrays.push_back(as_npy_array(tensor));
    starts.push_back(npy_start(arrays.back()));
  }
  ArchiveBytes bytes;
  Archive archive = bytes.open();
  for (std::size_t i = 0; i < tensors.size(); ++i)
    add(archive.get(), tensors[i].first, std::as_bytes(std::span(starts[i])),
        readable_bytes(arrays[i]));
  check(zip_close(archive.get()) == 0, "cannot write ", path.string(), ": ",
        zip_strerror(archive.get()));
  archive.release();
  replace_file(path, {bytes.read()});
}

}  // namespace vla
