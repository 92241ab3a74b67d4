// Linear regression in context, beside the best there is.
#include "tools/experiments/regression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

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

std::string rate_of(const Measurement& one) {
  const std::size_t begin = one.variant.find('-') + 1;
  return one.variant.substr(begin, one.variant.find("-seed") - begin);
}

// Means over the seeds of the mean over the places.
std::vector<double> means(const std::vector<RegressionErrors>& seeds,
                          std::vector<double> RegressionErrors::*who) {
  std::vector<double> result;
  for (const RegressionErrors& one : seeds) result.push_back(mean_of(one.*who));
  return result;
}

std::vector<std::string> words_of(const RegressionCell& cell) {
  const std::string seeds = seeds_text(cell.seeds.size(), cell.wanted, cell.failed);
  if (cell.seeds.empty())
    return {cell.setting, cell.model, "-", "-", "-", "-", "-", "-", "-", "-", seeds};
  const auto number = [](double value) { return fmt::format("{:.4f}", value); };
  const std::vector<double> errors = means(cell.seeds, &RegressionErrors::model);
  const double kalman = mean_of(means(cell.seeds, &RegressionErrors::kalman));
  std::vector<double> last;
  for (const RegressionErrors& one : cell.seeds) last.push_back(one.model.back());
  return {cell.setting,
          cell.model,
          cell.rate,
          number(mean_of(errors)),
          number(*std::ranges::min_element(errors)),
          number(*std::ranges::max_element(errors)),
          number(mean_of(last)),
          number(mean_of(means(cell.seeds, &RegressionErrors::ridge))),
          number(kalman),
          fmt::format("{:.2f}", mean_of(errors) / kalman),
          seeds};
}

Table table(const std::vector<MeasuredFile>& files) {
  Table table = {{"setting", "model", "rate", "error", "lowest", "highest", "last place", "ridge",
                  "Kalman", "of Kalman", "seeds"}};
  for (const RegressionCell& cell : regression_cells(files)) table.push_back(words_of(cell));
  return table;
}

}  // namespace

RegressionErrors read_regression(const std::filesystem::path& file) {
  const Table table = read_csv(file);
  check(table.size() > 1, file.string(), ": no place in it; vla regression writes one or more");
  return {csv_column(table, "model", file), csv_column(table, "ridge", file),
          csv_column(table, "kalman", file)};
}

double mean_of(const std::vector<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

std::vector<RegressionCell> regression_cells(const std::vector<MeasuredFile>& files) {
  struct AtRate {
    std::string rate;
    bool first_is_there = false;
    RegressionCell cell;
  };
  std::vector<RegressionCell> cells;
  std::vector<AtRate> rates;  // of one cell
  const auto keep_the_best = [&] {
    const auto error = [](const AtRate& at) { return mean_of(at.cell.seeds.front().model); };
    const AtRate* best = nullptr;
    for (const AtRate& at : rates)
      if (at.first_is_there && (!best || error(at) < error(*best))) best = &at;
    if (best) {
      cells.push_back(best->cell);
      cells.back().rate = best->rate;
    } else if (!rates.empty()) {
      cells.push_back({.setting = rates.front().cell.setting, .model = rates.front().cell.model});
      for (const AtRate& at : rates) {
        cells.back().wanted += at.cell.wanted;
        cells.back().failed += at.cell.failed;
      }
    }
    rates.clear();
  };
  for (const auto& [one, file, failed] : files) {
    if (!rates.empty() &&
        (rates.front().cell.model != one.model || rates.front().cell.setting != one.setting))
      keep_the_best();
    const std::string rate = rate_of(one);
    auto at = std::ranges::find(rates, rate, &AtRate::rate);
    const bool there = std::filesystem::exists(file);
    if (at == rates.end())
      at = rates.insert(at, {.rate = rate,
                             .first_is_there = there,
                             .cell = {.setting = one.setting, .model = one.model}});
    ++at->cell.wanted;
    at->cell.failed += failed;
    if (there) at->cell.seeds.push_back(read_regression(file));
  }
  keep_the_best();
  return cells;
}

Experiment regression_experiment() {
  return {.name = "regression",
          .description =
              "linear regression in context, plain, noisy and drifting, beside ridge and "
              "the Kalman filter",
          .measurements = measurements,
          .table = table};
}

}  // namespace vla
