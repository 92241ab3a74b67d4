// Zip archives made by hand.
#pragma once

#include <zip.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "framework/check.hpp"

namespace vla {

/// A zip archive of these files.
inline void write_archive(const std::filesystem::path& path,
                          const std::vector<std::pair<std::string, std::string>>& files,
                          zip_int32_t method = ZIP_CM_DEFLATE) {
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  check(archive != nullptr, "cannot make ", path.string());
  for (const auto& [name, bytes] : files) {
    zip_source_t* source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
    const zip_int64_t index = zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    check(index >= 0, "cannot add ", name);
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), method, 0);
  }
  check(zip_close(archive) == 0, "cannot write ", path.string());
}

}  // namespace vla
