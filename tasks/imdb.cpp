#include "tasks/imdb.hpp"

#include <algorithm>
#include <regex>

#include "framework/file.hpp"

namespace vla {
namespace {

struct Class {
  const char* name;
  int lowest, highest;  // rating
};
constexpr Class kImdbClasses[] = {{"neg", 1, 4}, {"pos", 7, 10}};

LabelledSets read_sets(const ImdbOptions& options) {
  check(!options.data.empty(), "imdb: no folder to learn from; --data DIRECTORY names it");
  check_task_setting("imdb", "length", options.length, 1, kLongestSequence);
  const std::filesystem::path folder = options.data;
  return {read_imdb(folder / "train", options.length), read_imdb(folder / "test", options.length)};
}

void check_name(const std::filesystem::path& path, const Class& of) {
  static const std::regex form("[0-9]+_(10|[0-9])\\.txt");
  std::smatch parts;
  const std::string name = path.filename().string();
  const bool named = std::regex_match(name, parts, form);
  const int rating = named ? std::stoi(parts[1]) : 0;
  check(rating >= of.lowest && rating <= of.highest, path.string(),
        ": expected a name NUMBER_RATING.txt with a rating of ", of.lowest, " to ", of.highest,
        ", which ", of.name, " has");
}

}  // namespace

LabelledBytes read_imdb(const std::filesystem::path& folder, Index length) {
  LabelledBytes reviews;
  for (Index label = 0; label < 2; ++label) {
    const Class& of = kImdbClasses[label];
    const std::vector<std::filesystem::path> paths = files_in(folder / of.name);
    check(!paths.empty(), (folder / of.name).string(),
          " is empty; expected files NUMBER_RATING.txt");
    for (const std::filesystem::path& path : paths) {
      check_name(path, of);
      const InputFile file(path);
      check(file.bytes() > 0, path.string(), " is empty; expected a review");
      std::vector<std::uint8_t> review(std::min(file.bytes(), static_cast<std::uint64_t>(length)));
      file.read(0, std::as_writable_bytes(std::span(review)));
      reviews.add({review}, label);
    }
  }
  return reviews;
}

Imdb::Imdb(const ImdbOptions& options)
    : LabelledBytesTask("imdb", 2, options.length, read_sets(options)) {}

}  // namespace vla
