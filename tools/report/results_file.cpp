#include "tools/report/results_file.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/file.hpp"
#include "tools/csv.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

fs::path results_file(const fs::path& directory) { return directory / "results.json"; }

// Written down as SETTING/MODEL/RUN below what was the experiment's directory then.
fs::path moved(const fs::path& written, const fs::path& directory) {
  const fs::path model = written.parent_path();
  return directory / model.parent_path().filename() / model.filename() / written.filename();
}

CellResult cell_of(const Json& row, const fs::path& directory) {
  CellResult cell{.setting = row.at("setting"), .model = row.at("model")};
  for (const Json& seed : row.at("seeds")) {
    if (!seed.contains("accuracy")) continue;
    SeedResult result{.directory = moved(seed.at("directory").get<std::string>(), directory),
                      .accuracy = seed.at("accuracy"),
                      .chance = seed.at("chance")};
    if (seed.contains("evaluations"))
      for (const auto& [name, json] : seed.at("evaluations").items())
        result.evaluations[name] = {json.at("accuracy"), json.at("loss"), json.at("chance")};
    cell.seeds.push_back(std::move(result));
  }
  return cell;
}

MeasuredFile measured_of(const Json& row, const fs::path& directory) {
  return {{.setting = row.at("setting"),
           .model = row.value("model", ""),
           .variant = row.value("variant", ""),
           .words = row.at("command")},
          directory / row.at("file").get<std::string>(),
          row.at("failed").get<bool>()};
}

}  // namespace

std::vector<std::string> ResultsFile::settings() const {
  std::vector<std::string> names;
  for (const CellResult& cell : cells)
    if (std::ranges::find(names, cell.setting) == names.end()) names.push_back(cell.setting);
  return names;
}

bool is_experiment(const fs::path& directory) { return fs::exists(results_file(directory)); }

ResultsFile read_results(const fs::path& directory) {
  const fs::path file = results_file(directory);
  ResultsFile results;
  results.directory = directory;
  const Json json = Json::parse(read_text(file), nullptr, false);
  check(json.is_object(), file.string(), ": not a JSON object; vla experiment writes it anew");
  try {
    results.name = json.at("experiment");
    results.description = json.at("description");
    results.made_with = json.at("made_with");
    for (const Json& row : json.at("rows")) results.cells.push_back(cell_of(row, directory));
    if (json.contains("measurements"))
      for (const Json& row : json.at("measurements"))
        results.measured.push_back(measured_of(row, directory));
  } catch (const Json::exception& error) {
    fail(file.string(), ": not as vla experiment writes it: ", error.what());
  }
  results.table = read_csv(directory / "table.csv");
  return results;
}

}  // namespace vla
