#include "tools/report/sizes.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace vla {
namespace {

// Accuracies and chances of a model at a number.
struct Measured {
  std::vector<double> accuracies, chances;
};

// What is measured by model, in the order of the file, and number.
struct Family {
  std::string title, counted;
  std::vector<std::string> models = {};
  std::map<std::string, std::map<double, Measured>> of_model = {};

  void add(const std::string& model, double number, double accuracy, double chance) {
    if (std::ranges::find(models, model) == models.end()) models.push_back(model);
    Measured& measured = of_model[model][number];
    measured.accuracies.push_back(accuracy);
    measured.chances.push_back(chance);
  }
  std::size_t numbers() const {
    std::set<double> all;
    for (const auto& [model, measured] : of_model)
      for (const auto& [number, there] : measured) all.insert(number);
    return all.size();
  }
};

// The one with this title, made at the end if there is none.
Family& family_of(std::vector<Family>& families, const std::string& title,
                  const std::string& counted) {
  const auto found = std::ranges::find(families, title, &Family::title);
  if (found != families.end()) return *found;
  families.push_back({.title = title, .counted = counted});
  return families.back();
}

std::vector<Family> families_of(const ResultsFile& results) {
  std::vector<Family> families;
  for (const CellResult& cell : results.cells)
    for (const SeedResult& seed : cell.seeds) {
      for (const NumberedName& name : numbered_names(cell.setting))
        family_of(families, name.family(), name.counted())
            .add(cell.model, name.number, seed.accuracy, seed.chance);
      for (const auto& [evaluation, outcome] : seed.evaluations)
        for (const NumberedName& name : numbered_names(evaluation))
          family_of(families, cell.setting + ", evaluated at " + name.family(), name.counted())
              .add(cell.model, name.number, outcome.accuracy, outcome.chance);
    }
  return families;
}

Line chance_of(const Family& family) {
  std::map<double, std::vector<double>> by_number;
  for (const auto& [model, measured] : family.of_model)
    for (const auto& [number, there] : measured)
      by_number[number].insert(by_number[number].end(), there.chances.begin(), there.chances.end());
  Line line;
  for (const auto& [number, chances] : by_number) line.add(number, chances);
  return {.label = "chance", .x = line.x, .y = line.y, .kind = Line::Kind::guide};
}

}  // namespace

std::string NumberedName::counted() const {
  const std::string name = before.empty() ? "N" : before.substr(0, before.size() - 1);
  const std::size_t dash = name.rfind('-');
  return dash == std::string::npos ? name : name.substr(dash + 1);
}

std::vector<NumberedName> numbered_names(const std::string& name) {
  std::vector<NumberedName> result;
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('-', begin), name.size());
    const std::string word = name.substr(begin, end - begin);
    if (!word.empty() && word.size() < 10 &&
        word.find_first_not_of("0123456789") == std::string::npos)
      result.push_back({name.substr(0, begin), name.substr(end), std::stod(word)});
    begin = end + 1;
  }
  return result;
}

void add_size_figures(Page& page, const ResultsFile& results) {
  std::vector<Family> families = families_of(results);
  std::erase_if(families, [](const Family& family) { return family.numbers() < 2; });
  if (!families.empty()) page.subsection("Accuracy by size");
  for (const Family& family : families) {
    LineFigure figure{.title = family.title,
                      .x_label = family.counted,
                      .y_label = "accuracy",
                      .x_scale = Scale::by_span,
                      .share = true};
    std::size_t most = 0;
    for (const std::string& model : family.models) {
      Line line{.label = model};
      for (const auto& [number, measured] : family.of_model.at(model)) {
        line.add(number, measured.accuracies);
        most = std::max(most, measured.accuracies.size());
      }
      figure.lines.push_back(std::move(line));
    }
    figure.lines.push_back(chance_of(family));
    figure.caption = most > 1 ? "Held-out accuracy: mean and, shaded, lowest to highest of up to " +
                                    std::to_string(most) + " seeds."
                              : "Held-out accuracy of one seed.";
    page.figure(figure);
  }
}

}  // namespace vla
