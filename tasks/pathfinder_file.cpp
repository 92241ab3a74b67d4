#include "tasks/pathfinder_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <map>

#include "framework/file.hpp"
#include "framework/parallel.hpp"
#include "tasks/lines.hpp"
#include "tasks/png.hpp"
#include "tasks/task.hpp"

namespace vla {
namespace {

constexpr Index kBatch = 1000;
constexpr std::size_t kLongestName = 255;
constexpr const char* kLine = "a folder, a file, a number and a label, with blanks between them";

// The files of metadata by their number.
std::map<Index, std::filesystem::path> metadata_of(const std::filesystem::path& folder) {
  std::map<Index, std::filesystem::path> files;
  for (const std::filesystem::path& path : files_in(folder)) {
    const std::string stem = path.stem().string();
    Index number = 0;
    const auto [end, wrong] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
    if (path.extension() == ".npy" && wrong == std::errc() && end == stem.data() + stem.size() &&
        number >= 0)
      files.emplace(number, path);
  }
  return files;
}

// The first four fields.
std::array<std::string_view, 4> fields_of(std::string_view line, const Lines& lines) {
  std::array<std::string_view, 4> fields;
  std::size_t count = 0;
  while (!line.empty() && count < fields.size()) {
    const std::string_view field = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(line.size(), field.size() + 1));
    if (!field.empty()) fields[count++] = field;
  }
  if (count < fields.size())
    lines.refuse(count, count == 1 ? " field" : " fields", "; expected 4 or more: ", kLine);
  return fields;
}

void add_line(std::string_view line, const std::filesystem::path& folder, const Lines& lines,
              PathfinderSet& set) {
  const auto [place, file, number, label] = fields_of(line, lines);
  if (label != "0" && label != "1") lines.refuse("label ", shown(label), "; expected 0 or 1");
  // A path takes far more memory than its text, and ends at a zero byte where its text does not.
  const auto is_control = [](char letter) { return letter >= 0 && letter < ' '; };
  for (const std::string_view part : {place, file})
    if (part.size() > kLongestName || std::ranges::any_of(part, is_control))
      lines.refuse("image ", shown(part), "; expected a name of ", kLongestName,
                   " bytes or less without control characters");
  const std::filesystem::path path = std::filesystem::path(place) / file;
  if (path.is_absolute() || std::ranges::find(path, "..") != path.end())
    lines.refuse("image ", shown(path.string()), "; expected one in the folder of the data");
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(folder / path, error);
  if (error) lines.refuse("image ", (folder / path).string(), ": ", error.message());
  if (bytes == 0) return;
  set.paths.push_back(path.string());
  set.labels.push_back(label == "1");
}

void write_image(const std::filesystem::path& path, const std::vector<std::uint8_t>& file) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(file.data()),
               static_cast<std::streamsize>(file.size()));
  stream.close();
  check(stream.good(), "cannot write ", path.string(), ": ", std::strerror(errno));
}

}  // namespace

PathfinderSet read_pathfinder(const std::filesystem::path& folder) {
  const std::filesystem::path metadata = folder / "metadata";
  PathfinderSet set;
  for (const auto& [number, path] : metadata_of(metadata)) {
    Lines lines(path, kLine);
    for (std::string_view line; lines.next(line);) add_line(line, folder, lines, set);
  }
  check(set.size() > 0, metadata.string(),
        " names no images; expected files NUMBER.npy of lines of ", kLine);
  return set;
}

void write_pathfinder(const std::filesystem::path& folder, const PathfinderRule& rule, Index count,
                      Rng rng) {
  check_task_setting("pathfinder", "count", count, 1, Index{1} << 32);
  make_folder(folder / "metadata");
  for (const auto& [number, path] : metadata_of(folder / "metadata")) {
    std::error_code error;
    std::filesystem::remove(path, error);
    check(!error, "cannot remove ", path.string(), ": ", error.message());
  }
  for (Index batch = 0; batch * kBatch < count; ++batch) {
    const Index images = std::min(kBatch, count - batch * kBatch);
    const std::string place = concatenate("imgs/", batch);
    make_folder(folder / place);
    std::vector<std::string> rows(static_cast<std::size_t>(images));
    // An image of a number has a stream of its own, so that it does not matter who draws it.
    parallel_for(images, 1, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        Rng own = rng.fork(static_cast<std::uint64_t>(batch * kBatch + i));
        const PathfinderImage image = draw_pathfinder(rule, own);
        const std::string file = concatenate("sample_", i, ".png");
        write_image(folder / place / file, encode_png(image.pixels, rule.side, rule.side));
        rows[static_cast<std::size_t>(i)] =
            concatenate(place, ' ', file, ' ', i, ' ', int(image.connected), ' ', rule.continuity,
                        ' ', rule.contour, ' ', rule.distractor_dashes, ' ', rule.dash, ' ',
                        rule.thickness, ' ', image.gap, " 1\n");
      }
    });
    std::string metadata;
    for (const std::string& row : rows) metadata += row;
    write_text(folder / "metadata" / concatenate(batch, ".npy"), metadata);
  }
}

}  // namespace vla
