#include "tools/report/measured.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "framework/file.hpp"
#include "tools/experiments/regression.hpp"

namespace vla {
namespace {

using Json = nlohmann::json;

// The mean over the seeds at each place, and their spread.
Line line_of(const std::string& label, const std::vector<RegressionErrors>& seeds,
             std::vector<double> RegressionErrors::*who) {
  Line line{.label = label};
  for (std::size_t place = 0; place < (seeds.front().*who).size(); ++place) {
    std::vector<double> numbers;
    for (const RegressionErrors& one : seeds)
      if (place < (one.*who).size()) numbers.push_back((one.*who)[place]);
    line.add(static_cast<double>(place + 1), numbers);
  }
  return line;
}

void add_regression(Page& page, const ResultsFile& experiment) {
  std::map<std::string, LineFigure> figures;  // by setting
  std::vector<std::string> settings;
  for (const RegressionCell& cell : regression_cells(experiment.measured)) {
    if (cell.seeds.empty()) continue;
    if (!figures.contains(cell.setting)) {
      settings.push_back(cell.setting);
      LineFigure& figure = figures[cell.setting];
      figure = {.title = "Squared error of " + cell.setting + " regression",
                .x_label = "place",
                .y_label = "mean squared error",
                .y_scale = Scale::by_span,
                .caption =
                    "Each model at its best rate; bands from the lowest to the highest of "
                    "the seeds."};
      for (const auto& [name, who] :
           {std::pair{"Kalman", &RegressionErrors::kalman}, {"ridge", &RegressionErrors::ridge}}) {
        figure.lines.push_back(line_of(name, {cell.seeds.front()}, who));
        figure.lines.back().kind = Line::Kind::guide;
      }
    }
    figures[cell.setting].lines.push_back(
        line_of(cell.model, cell.seeds, &RegressionErrors::model));
  }
  for (const std::string& setting : settings) page.figure(std::move(figures[setting]));
}

// A quantity over the tokens read, a line per model.
struct Quantity {
  std::string name;  // in the file
  std::string title, y_label;
};

const std::vector<Quantity> kQuantities = {
    {"memory_norm", "Norm of the memory", "|S|, Frobenius"},
    {"inverse_norm", "Norm of the penalty's inverse", "|A|, Frobenius"},
    {"smallest_eigenvalue", "Smallest eigenvalue of the penalty's inverse", "eigenvalue"},
    {"transition_norm", "Norm of the transition", "spectral norm"}};

std::vector<double> numbers_in(const Json& list) {
  std::vector<double> numbers;
  for (const Json& one : list)
    numbers.push_back(one.is_number() ? one.get<double>()
                                      : std::numeric_limits<double>::quiet_NaN());
  return numbers;
}

// Tokens, and numbers at them; nothing where there are none.
using Series = std::pair<const Json*, const Json*>;

// The lines of a setting; `series` finds the Series in a file.
template <class SeriesOf>
std::vector<Line> lines_of(const ResultsFile& experiment, const std::string& setting,
                           const SeriesOf& series) {
  std::vector<std::string> models;
  std::map<std::string, std::map<double, std::vector<double>>> at;
  for (const auto& [one, file, failed] : experiment.measured) {
    if (one.setting != setting || !std::filesystem::exists(file)) continue;
    const Json json = Json::parse(read_text(file), nullptr, false);
    try {
      const auto [tokens, numbers] = series(json);
      if (!numbers) continue;
      const std::vector<double> x = numbers_in(*tokens), y = numbers_in(*numbers);
      check(x.size() == y.size(), file.string(), ": ", x.size(), " tokens and ", y.size(),
            " numbers");
      if (!at.contains(one.model)) models.push_back(one.model);
      for (std::size_t i = 0; i < x.size(); ++i)
        if (std::isfinite(y[i])) at[one.model][x[i]].push_back(y[i]);
    } catch (const Json::exception& error) {
      fail(file.string(), ": not as vla stability writes it: ", error.what());
    }
  }
  std::vector<Line> lines;
  for (const std::string& model : models) {
    lines.push_back({.label = model});
    for (const auto& [x, numbers] : at[model]) lines.back().add(x, numbers);
  }
  return lines;
}

Series errors_in(const Json& json) {
  if (!json.contains("error")) return {};
  return {&json.at("tokens"), &json.at("error")};
}

Series series_in(const Json& json, const std::string& name) {
  if (!json.contains("series") || !json.at("series").contains(name)) return {};
  const Json& series = json.at("series").at(name);
  return {&series.at("tokens"), &series.at("numbers")};
}

void add_stability(Page& page, const ResultsFile& experiment) {
  std::vector<std::string> settings;
  for (const auto& [one, file, failed] : experiment.measured)
    if (std::ranges::find(settings, one.setting) == settings.end()) settings.push_back(one.setting);
  for (const std::string& setting : settings) {
    page.figure({.title = "Error of float32, " + setting,
                 .x_label = "tokens",
                 .y_label = "relative error",
                 .x_scale = Scale::by_span,
                 .y_scale = Scale::by_span,
                 .lines = lines_of(experiment, setting, errors_in),
                 .caption = "Of the outputs of a block, against float64."});
    for (const Quantity& quantity : kQuantities)
      page.figure(
          {.title = quantity.title + ", " + setting,
           .x_label = "tokens",
           .y_label = quantity.y_label,
           .x_scale = Scale::by_span,
           .y_scale = Scale::by_span,
           .lines = lines_of(experiment, setting,
                             [&](const Json& json) { return series_in(json, quantity.name); }),
           .caption = "Bands from the lowest to the highest of the seeds."});
  }
}

}  // namespace

void add_measured_figures(Page& page, const ResultsFile& experiment) {
  if (experiment.name == "regression") add_regression(page, experiment);
  if (experiment.name == "stability") add_stability(page, experiment);
}

}  // namespace vla
