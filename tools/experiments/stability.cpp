// What a memory that is not trained does over a long sequence.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/file.hpp"
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

using Json = nlohmann::json;

// The settings of streaming: the error against float64, not the state.
constexpr const char* kStreamed = "streamed-";

std::vector<Measurement> measurements(bool quick) {
  std::vector<Measurement> result;
  const auto add = [&](const std::string& setting, const char* model, const std::string& words,
                       int seed, bool on_cpu) {
    result.push_back(
        {.setting = setting,
         .model = model,
         .variant = fmt::format("seed-{}", seed),
         .words = fmt::format("stability --model {} {} --seed {} --json", model, words, seed),
         .on_cpu = on_cpu});
  };
  const int seeds = quick ? 1 : 3;
  for (const char* keys : {"random", "repeated"})
    for (const Index time :
         quick ? std::vector<Index>{200, 1000} : std::vector<Index>{1000, 10'000, 100'000})
      for (const char* model : {"vla", "vla-v3", "vla-v1", "deltanet", "linear"})
        for (int seed = 1; seed <= seeds; ++seed)
          add(fmt::format("{}-T-{}", keys, time), model,
              fmt::format("--keys {} --time {}{}", keys, time, quick ? " --dimensions 8" : ""),
              seed, true);
  for (const char* keys : {"random", "repeated"})
    for (const Index time :
         quick ? std::vector<Index>{40'000} : std::vector<Index>{1'000'000, 10'000'000})
      for (const char* model : {"vla", "deltanet", "linear"})
        for (int seed = 1; seed <= (time > 1'000'000 ? 1 : seeds); ++seed)
          add(fmt::format("{}{}-T-{}", kStreamed, keys, time), model,
              fmt::format("--against-float64 --keys {} --time {} --dimensions {}", keys, time,
                          quick ? 8 : 64),
              seed, false);
  return result;
}

// One model in one setting: the results of its seeds.
struct Cell {
  Measurement first;
  std::size_t seeds = 0, failed = 0;
  std::vector<Json> results = {};
};

// Mean and spread over the seeds of json[part][name]; nothing where there is no such quantity, or
// where it is not finite.
std::string numbers(const Cell& cell, const char* part, const char* name) {
  std::vector<double> values;
  double sum = 0;
  for (const Json& json : cell.results) {
    const Json& found = json.at(part);
    if (!found.contains(name)) return "-";
    if (!found.at(name).is_number()) return "not finite";
    sum += values.emplace_back(found.at(name).get<double>());
  }
  if (values.empty()) return "-";
  const auto [lowest, highest] = std::ranges::minmax(values);
  const std::string mean = fmt::format("{:.4g}", sum / static_cast<double>(values.size()));
  return values.size() == 1 ? mean : mean + fmt::format(" ({:.4g}-{:.4g})", lowest, highest);
}

std::vector<std::string> words_of(const Cell& cell) {
  const bool streamed = cell.first.setting.starts_with(kStreamed);
  const auto state = [&](const char* part, const char* name) {
    return streamed ? "-" : numbers(cell, part, name);
  };
  return {cell.first.setting,
          cell.first.model,
          state("last", "memory_norm"),
          state("max", "memory_norm"),
          state("last", "inverse_norm"),
          state("min", "smallest_eigenvalue"),
          state("max", "largest_eigenvalue"),
          state("max", "transition_norm"),
          state("max", "transition_radius"),
          streamed ? numbers(cell, "largest", "error") : "-",
          seeds_text(cell.results.size(), cell.seeds, cell.failed)};
}

Table table(const std::vector<MeasuredFile>& files) {
  std::vector<Cell> cells;
  for (const auto& [one, file, failed] : files) {
    if (cells.empty() || cells.back().first.model != one.model ||
        cells.back().first.setting != one.setting)
      cells.push_back({one});
    ++cells.back().seeds;
    cells.back().failed += failed;
    if (!std::filesystem::exists(file)) continue;
    Json json = Json::parse(read_text(file), nullptr, false);
    const char* part = one.setting.starts_with(kStreamed) ? "largest" : "last";
    check(json.is_object() && json.contains(part), file.string(), ": no result of vla stability");
    cells.back().results.push_back(std::move(json));
  }
  Table table = {{"setting", "model", "|S| last", "|S| most", "|A| last", "least eigenvalue of A",
                  "largest", "transition norm, most", "its radius, most", "error, most", "seeds"}};
  for (const Cell& cell : cells) table.push_back(words_of(cell));
  return table;
}

}  // namespace

Experiment stability_experiment() {
  return {.name = "stability",
          .description =
              "norms and eigenvalues of an untrained memory over up to 100,000 tokens, "
              "and float32 streaming over 10,000,000 against float64",
          .measurements = measurements,
          .table = table};
}

}  // namespace vla
