// Linear regression in context, beside the best there is.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <sstream>

#include "framework/file.hpp"
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

constexpr const char* kModels[][2] = {
    {"vla", "--model vla"},           {"vla-forgets", "--model vla --forget --restore-period 8"},
    {"vla-v3", "--model vla-v3"},     {"vla-v1", "--model vla-v1"},
    {"deltanet", "--model deltanet"}, {"linear", "--model linear"},
    {"softmax", "--model softmax"}};

std::vector<Measurement> measurements(bool quick) {
  const std::string sizes =
      quick ? "--dimensions 2 --points 8 --width 16 --heads 2 --layers 1 --hidden 32 --batch 32 "
              "--steps 1000 --examples 500"
            : "--dimensions 4 --points 16 --width 64 --heads 2 --hidden 64 --batch 32 --steps 2000";
  const std::vector<const char*> rates =
      quick ? std::vector{"0.008"} : std::vector{"0.003", "0.01"};
  std::vector<Measurement> result;
  for (const auto& [setting, words] : {std::pair{"plain", "--noise 0"},
                                       {"noisy", "--noise 0.1"},
                                       {"drifting", "--noise 0.1 --drift 0.1"}})
    for (const auto& [name, model] : kModels)
      for (const char* rate : rates)
        for (int seed = 1; seed <= (quick ? 1 : 3); ++seed)
          result.push_back({.setting = setting,
                            .model = name,
                            .variant = fmt::format("rate-{}-seed-{}", rate, seed),
                            .words = fmt::format("regression {} {} {} --rate {} --seed {} --out",
                                                 model, words, sizes, rate, seed),
                            .trains = true});
  return result;
}

struct Errors {
  double model = 0, ridge = 0, kalman = 0;
};

struct Result {
  Errors mean, last;  // over the places, and at the last of them
};

Result result_in(const std::filesystem::path& file) {
  std::istringstream lines(read_text(file));
  std::string line;
  std::getline(lines, line);
  Result result;
  double places = 0;
  while (std::getline(lines, line)) {
    Index place = 0;
    const int found = std::sscanf(line.c_str(), "%ld,%lf,%lf,%lf", &place, &result.last.model,
                                  &result.last.ridge, &result.last.kalman);
    check(found == 4, file.string(), ": '", line, "' is no row of vla regression");
    ++places;
    result.mean.model += result.last.model;
    result.mean.ridge += result.last.ridge;
    result.mean.kalman += result.last.kalman;
  }
  check(places > 0, file.string(), ": no rows of vla regression");
  for (double* sum : {&result.mean.model, &result.mean.ridge, &result.mean.kalman}) *sum /= places;
  return result;
}

// A model in a setting: results by rate, those of the seeds in their order.
struct Cell {
  Measurement first;
  std::map<std::string, std::vector<Result>> results = {};
  std::map<std::string, std::size_t> wanted = {};
};

std::string rate_of(const Measurement& one) {
  const std::size_t begin = one.variant.find('-') + 1;
  return one.variant.substr(begin, one.variant.find("-seed") - begin);
}

double mean_of(const std::vector<Result>& results, double (*number)(const Result&)) {
  double sum = 0;
  for (const Result& one : results) sum += number(one);
  return sum / static_cast<double>(results.size());
}

std::vector<std::string> words_of(const Cell& cell) {
  const std::string& setting = cell.first.setting;
  // The best rate is that of the lowest error with the first seed that there is.
  const auto best = std::ranges::min_element(
      cell.results, {}, [](const auto& entry) { return entry.second.front().mean.model; });
  if (best == cell.results.end())
    return {setting, cell.first.model, "-", "-", "-", "-", "-", "-", "-", "-", "not run"};
  const auto& [rate, seeds] = *best;
  const auto number = [](double value) { return fmt::format("{:.4f}", value); };
  const auto mean = [](const Result& one) { return one.mean.model; };
  const double error = mean_of(seeds, mean);
  const auto [lowest, highest] = std::ranges::minmax(seeds, {}, mean);
  const double kalman = mean_of(seeds, [](const Result& one) { return one.mean.kalman; });
  const std::size_t wanted = cell.wanted.at(rate);
  return {setting,
          cell.first.model,
          rate,
          number(error),
          number(lowest.mean.model),
          number(highest.mean.model),
          number(mean_of(seeds, [](const Result& one) { return one.last.model; })),
          number(mean_of(seeds, [](const Result& one) { return one.mean.ridge; })),
          number(kalman),
          fmt::format("{:.2f}", error / kalman),
          seeds.size() == wanted ? fmt::format("{}", wanted)
                                 : fmt::format("{} of {}", seeds.size(), wanted)};
}

Table table(const std::vector<MeasuredFile>& files) {
  std::vector<Cell> cells;
  for (const auto& [one, file] : files) {
    if (cells.empty() || cells.back().first.model != one.model ||
        cells.back().first.setting != one.setting)
      cells.push_back({one});
    ++cells.back().wanted[rate_of(one)];
    if (std::filesystem::exists(file))
      cells.back().results[rate_of(one)].push_back(result_in(file));
  }
  Table table = {{"setting", "model", "rate", "error", "lowest", "highest", "last place", "ridge",
                  "Kalman", "of Kalman", "seeds"}};
  for (const Cell& cell : cells) table.push_back(words_of(cell));
  return table;
}

}  // namespace

Experiment regression_experiment() {
  return {.name = "regression",
          .description =
              "linear regression in context, plain, noisy and drifting, beside ridge and "
              "the Kalman filter",
          .measurements = measurements,
          .table = table};
}

}  // namespace vla
