// Time and memory against the length of the sequence.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/file.hpp"
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

using Json = nlohmann::json;

std::vector<Measurement> measurements(bool quick) {
  std::vector<Measurement> result;
  const auto add = [&](Index time, Index batch, const char* sizes) {
    result.push_back({.setting = fmt::format("T-{}", time),
                      .words = fmt::format("bench --time {} --batch {} --operators none {} --json",
                                           time, batch, sizes)});
  };
  if (quick) {
    for (const Index time : {64, 128, 256})
      add(time, 1, "--width 32 --heads 2 --repeats 3 --limit 2");
    return result;
  }
  // About as many tokens in each; what would take too long or too much memory skips itself.
  for (Index time = 256, batch = 64; time <= 65536; time *= 2, batch = batch > 1 ? batch / 2 : 1)
    add(time, batch, "--width 256 --heads 4");
  return result;
}

// Of each bench the rows of its JSON file.
Table table(const std::vector<MeasuredFile>& benches) {
  Table table = {{"setting", "layer", "form", "pass", "ms", "tokens/s", "peak MB"}};
  for (const auto& [bench, file, failed] : benches) {
    if (!std::filesystem::exists(file)) {
      table.push_back({bench.setting, failed ? "failed" : "not run", "-", "-", "-", "-", "-"});
      continue;
    }
    const Json json = Json::parse(read_text(file), nullptr, false);
    check(json.is_object() && json.contains("rows"), file.string(), ": no rows of vla bench");
    for (const Json& row : json.at("rows")) {
      std::vector<std::string> words = {bench.setting, row.at("name"), row.at("form"),
                                        row.at("pass")};
      if (row.contains("skipped"))
        words.insert(words.end(), {"skipped", "-", "-"});
      else
        words.insert(words.end(),
                     {fmt::format("{:.2f}", 1e3 * row.at("seconds").get<double>()),
                      fmt::format("{:.0f}", row.at("tokens_per_second").get<double>()),
                      fmt::format("{:.1f}", 1e-6 * row.at("peak_bytes").get<double>())});
      table.push_back(std::move(words));
    }
  }
  return table;
}

}  // namespace

Experiment scaling() {
  return {.name = "scaling",
          .description = "time and memory of a layer against the length of the sequence",
          .measurements = measurements,
          .table = table,
          .one_at_a_time = true};
}

}  // namespace vla
