#include "tasks/aan.hpp"

#include <array>

#include "tasks/lines.hpp"

namespace vla {
namespace {

constexpr const char* kLine = "a label, two names and two texts, with tabs between them";

LabelledSets read_sets(const AanOptions& options) {
  const auto& [data, length, held_out] = options;
  check(!data.empty(), "aan: no folder to learn from; --data DIRECTORY names it");
  check_task_setting("aan", "length", length, 4, kLongestSequence);
  check(length % 2 == 0, "aan: length ", length,
        " is not allowed; an even number, half for each document");
  check_held_out("aan", held_out);
  const auto read = [&](const char* split) {
    return read_aan(std::filesystem::path(data) / concatenate("new_aan_pairs.", split, ".tsv"),
                    length / 2 - 1);
  };
  return {read("train"), read(held_out == "val" ? "eval" : "test")};
}

using Fields = std::array<std::string_view, 5>;

Fields fields_of(std::string_view line, const Lines& lines) {
  Fields fields;
  std::size_t count = 0;
  for (std::size_t start = 0; start != std::string_view::npos; ++count) {
    const std::size_t tab = line.find('\t', start);
    if (count < fields.size()) fields[count] = line.substr(start, tab - start);
    start = tab == std::string_view::npos ? tab : tab + 1;
  }
  if (count != fields.size())
    lines.refuse(count, count == 1 ? " field" : " fields", "; expected ", fields.size(), ": ",
                 kLine);
  return fields;
}

}  // namespace

LabelledBytes read_aan(const std::filesystem::path& path, Index longest) {
  Lines lines(path, kLine);
  LabelledBytes pairs(2);
  for (std::string_view line; lines.next(line);) {
    const auto [label, first_name, second_name, first, second] = fields_of(line, lines);
    const bool related = label == "1" || label == "1.0";
    if (!related && label != "0" && label != "0.0")
      lines.refuse("label ", shown(label), "; expected 0, 1, 0.0 or 1.0");
    const auto bytes = [&](std::string_view text) {
      text = text.substr(0, static_cast<std::size_t>(longest));
      return Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
    };
    pairs.add({bytes(first), bytes(second)}, related);
  }
  check(pairs.size() > 0, path.string(), " is empty; expected lines of ", kLine);
  return pairs;
}

Aan::Aan(const AanOptions& options)
    : LabelledBytesTask("aan", 2, options.length, read_sets(options)) {}

}  // namespace vla
