#include "tools/experiments/table.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/cuda/runtime.hpp"
#include "framework/file.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// In place of a number that is not there.
const std::string kNone = "-";

std::vector<std::string> words_of(const ResultRow& row) {
  const auto accuracy = [&](double value) {
    return row.accuracies.empty() ? "-" : fmt::format("{:.4f}", value);
  };
  const bool trained = row.parameters > 0;
  const auto if_trained = [&](auto value) {
    return trained ? fmt::format("{:.0f}", static_cast<double>(value)) : "-";
  };
  return {row.setting,
          row.model,
          if_trained(row.parameters),
          row.state_bytes ? fmt::format("{}", *row.state_bytes) : "-",
          row.rate.empty() ? "-" : row.rate,
          accuracy(row.mean()),
          accuracy(row.lowest()),
          accuracy(row.highest()),
          row.search_failed ? "failed"
                            : seeds_text(row.accuracies.size(), static_cast<std::size_t>(row.seeds),
                                         static_cast<std::size_t>(row.failed)),
          if_trained(row.steps),
          if_trained(row.seconds),
          trained ? fmt::format("{:.4f}", row.chance) : "-"};
}

std::string machine_text(const ExperimentPlan& plan) {
  const Device device = parse_device(plan.options().device);
  if constexpr (kCudaBuild)
    if (!device.is_cpu()) return cuda::properties(device).name;
  std::ifstream lines("/proc/cpuinfo");
  std::string model = "unknown processor";
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("model name")) model = line.substr(line.find(": ") + 2);
  return fmt::format("{} cores of {}", thread_count(), model);
}

std::string head(const ExperimentPlan& plan) {
  const ExperimentOptions& options = plan.options();
  std::string command = "vla experiment " + plan.name();
  if (options.quick) command += " --quick";
  if (options.steps > 0) command += fmt::format(" --steps {}", options.steps);
  if (!options.settings.empty()) command += " --settings " + options.settings;
  if (!options.models.empty()) command += " --models " + options.models;
  if (options.device != "cpu") command += " --device " + options.device;
  if (options.precision != "float32") command += " --precision " + options.precision;
  return fmt::format("Last call: `{}`, version {}, on {}, {} at a time, {:%Y-%m-%d}", command,
                     VLA_VERSION, machine_text(plan), plan.jobs(),
                     fmt::localtime(std::time(nullptr)));
}

Json as_json(const Found& one) {
  Json json = {{"directory", one.run.directory.string()},
               {"settings", command_text(one.run.words)}};
  if (!one.outcome) return json;
  const RunOutcome& outcome = *one.outcome;
  if (!outcome.failure.empty()) {
    json["failure"] = outcome.failure;
    return json;
  }
  json.update({{"accuracy", outcome.accuracy},
               {"loss", outcome.loss},
               {"chance", outcome.chance},
               {"steps", outcome.steps},
               {"seconds", outcome.seconds},
               {"parameters", outcome.parameters}});
  if (outcome.state_bytes) json["state_bytes"] = *outcome.state_bytes;
  return json;
}

Json as_json(const ExperimentPlan& plan, const CellResults& results) {
  Json json = {{"setting", results.cell.group->name}, {"model", results.cell.model->name}};
  if (!results.rate.empty()) json["best_rate"] = std::stod(results.rate);
  json["search"] = Json::array();
  json["seeds"] = Json::array();
  for (const Found& one : results.search) json["search"].push_back(as_json(one));
  for (const Found& one : results.repeats) {
    Json seed = as_json(one);
    for (const NamedWords& evaluation : results.cell.group->evaluations) {
      const fs::path file = plan.evaluation_file(one.run, evaluation);
      if (!fs::exists(file)) continue;
      const EvaluationOutcome outcome = evaluation_outcome(file);
      seed["evaluations"][evaluation.name] = {
          {"accuracy", outcome.accuracy}, {"loss", outcome.loss}, {"chance", outcome.chance}};
    }
    json["seeds"].push_back(std::move(seed));
  }
  return json;
}

Json as_json(const ExperimentPlan& plan, const Measurement& measurement) {
  Json json = {{"setting", measurement.setting}};
  if (!measurement.model.empty()) json["model"] = measurement.model;
  if (!measurement.variant.empty()) json["variant"] = measurement.variant;
  const fs::path file = plan.measurement_file(measurement);
  const std::string name = fs::relative(file, plan.directory()).string();
  json["command"] = "vla " + measurement.words + " " + name;
  json["file"] = name;
  json["failed"] = kept_failure(file).has_value();
  return json;
}

// "RUN: why" of what failed.
std::vector<std::string> failure_lines(const ExperimentPlan& plan,
                                       const std::vector<CellResults>& results,
                                       const Failures& failures) {
  Failures lines = failures;
  for (const CellResults& cell : results) {
    for (const std::vector<Found>* runs : {&cell.search, &cell.repeats})
      for (const Found& one : *runs)
        if (one.failed()) lines[one.run.directory.string()] = one.outcome->failure;
    for (const Found& one : cell.repeats)
      for (const NamedWords& evaluation : cell.cell.group->evaluations)
        if (const fs::path file = plan.evaluation_file(one.run, evaluation);
            const std::optional<std::string> failure = kept_failure(file))
          lines[file.string()] = *failure;
  }
  for (const Measurement& one : plan.known_measurements())
    if (const fs::path file = plan.measurement_file(one);
        const std::optional<std::string> failure = kept_failure(file))
      lines[file.string()] = *failure;
  std::vector<std::string> result;
  for (const auto& [what, why] : lines) result.push_back(what + ": " + why);
  return result;
}

bool is_number(const std::string& word) {
  return word == kNone || (!word.empty() && word.find_first_not_of("0123456789.e-+") == word.npos);
}

}  // namespace

Table result_table(const std::vector<ResultRow>& rows) {
  Table table = {{"setting", "model", "parameters", "state bytes", "rate", "accuracy", "lowest",
                  "highest", "seeds", "steps", "seconds", "chance"}};
  for (const ResultRow& row : rows) table.push_back(words_of(row));
  return table;
}

std::vector<bool> number_columns(const Table& table) {
  std::vector<bool> numbers;
  for (std::size_t i = 0; i < table.front().size(); ++i)
    numbers.push_back(std::all_of(table.begin() + 1, table.end(),
                                  [i](const auto& row) { return is_number(row[i]); }));
  return numbers;
}

std::string aligned(const Table& table) { return aligned(table, number_columns(table)); }

std::string markdown(const Table& table) {
  std::string text;
  for (std::size_t row = 0; row < table.size(); ++row) {
    for (const std::string& word : table[row]) text += "| " + word + " ";
    text += "|\n";
    if (row > 0) continue;
    for (std::size_t i = 0; i < table[row].size(); ++i) text += "|---";
    text += "|\n";
  }
  return text;
}

std::string write_results(const ExperimentPlan& plan, const Failures& failures) {
  const std::vector<CellResults> results = all_results(plan, failures);
  const Table table = plan.known_measurements().empty()
                          ? result_table(result_rows(plan, results, failures))
                          : plan.measured_table();
  std::string failed;
  for (const std::string& line : failure_lines(plan, results, failures))
    failed += (failed.empty() ? "\nfailed:\n" : "") + ("- " + line) + "\n";
  Json json = {{"experiment", plan.name()},
               {"description", plan.description()},
               {"made_with", head(plan)},
               {"rows", Json::array()}};
  for (const CellResults& cell : results) json["rows"].push_back(as_json(plan, cell));
  for (const Measurement& one : plan.known_measurements())
    json["measurements"].push_back(as_json(plan, one));
  write_text(plan.directory() / "table.md", "# " + plan.name() + "\n\n" + plan.description() +
                                                "\n\n" + head(plan) + "\n\n" + markdown(table) +
                                                failed);
  write_text(plan.directory() / "table.csv", csv_text(table));
  write_text(plan.directory() / "results.json", json.dump(2) + "\n");
  return aligned(table) + failed;
}

}  // namespace vla
