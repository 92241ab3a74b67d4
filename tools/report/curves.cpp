#include "tools/report/curves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>

namespace vla {
namespace {

using Number = double (*)(const Metrics& line);

// At the steps that every run has a report of.
Line mean_line(const std::vector<std::vector<Metrics>>& runs, const SeedGroup& group,
               Number number) {
  std::map<Index, std::vector<double>> by_step;
  for (const std::vector<Metrics>& lines : runs)
    for (const Metrics& line : lines)
      if (!line.held_out()) by_step[line.step].push_back(number(line));
  Line mean{.label = group.label, .model = group.model};
  for (const auto& [step, numbers] : by_step)
    if (numbers.size() == runs.size()) mean.add(static_cast<double>(step), numbers);
  return mean;
}

Line held_out_points(const std::vector<std::vector<Metrics>>& runs, const SeedGroup& group,
                     Number number) {
  Line points{
      .label = group.label + " (held out)", .model = group.model, .kind = Line::Kind::points};
  for (const std::vector<Metrics>& lines : runs) {
    if (!lines.back().held_out()) continue;
    points.x.push_back(static_cast<double>(lines.back().step));
    points.y.push_back(number(lines.back()));
  }
  return points;
}

// Chance, where the runs know it, from the first report to the last step.
void add_chance(LineFigure& figure, const std::vector<std::vector<Metrics>>& runs) {
  double chance = 0, first = 1e300, last = 0;
  for (const std::vector<Metrics>& lines : runs) {
    first = std::min(first, static_cast<double>(lines.front().step));
    last = std::max(last, static_cast<double>(lines.back().step));
    if (const auto found = lines.back().more.find("chance"); found != lines.back().more.end())
      chance = found->second;
  }
  if (chance > 0)
    figure.lines.push_back(
        {.label = "chance", .x = {first, last}, .y = {chance, chance}, .kind = Line::Kind::guide});
}

// What lines and bands are, by how many seeds each group has.
std::string seeds_text(const std::map<std::string, std::size_t>& seeds) {
  std::set<std::size_t> counts;
  std::string list;
  for (const auto& [label, count] : seeds) {
    counts.insert(count);
    list += (list.empty() ? "" : "; ") + label + ": " + std::to_string(count);
  }
  if (counts == std::set<std::size_t>{1}) return "One seed.";
  return "Mean and, shaded, lowest to highest over the seeds, as far as all of them went (" +
         (counts.size() == 1 ? std::to_string(*counts.begin()) : list) + ").";
}

void add_pair(Page& page, const std::string& title, std::span<const SeedGroup> groups) {
  LineFigure loss{
      .title = "Loss, " + title, .x_label = "step", .y_label = "loss", .y_scale = Scale::by_span};
  LineFigure accuracy{
      .title = "Accuracy, " + title, .x_label = "step", .y_label = "accuracy", .share = true};
  std::vector<std::vector<Metrics>> all;
  std::map<std::string, std::size_t> seeds;
  for (const SeedGroup& group : groups) {
    std::vector<std::vector<Metrics>> runs;
    for (const RunDirectory& run : group.runs) runs.push_back(run.metrics());
    std::erase_if(runs, [](const auto& lines) { return lines.empty(); });
    if (runs.empty()) continue;
    seeds[group.label] = runs.size();
    for (const auto& [figure, number] :
         {std::pair<LineFigure*, Number>{&loss, [](const Metrics& line) { return line.loss; }},
          {&accuracy, [](const Metrics& line) { return line.accuracy; }}}) {
      figure->lines.push_back(mean_line(runs, group, number));
      figure->lines.push_back(held_out_points(runs, group, number));
    }
    all.insert(all.end(), runs.begin(), runs.end());
  }
  if (all.empty()) return;
  add_chance(accuracy, all);
  const std::string shared =
      seeds_text(seeds) + " Rings: evaluation on fresh examples at a seed's end.";
  loss.caption = "Of training, mean since the report before. " + shared;
  accuracy.caption = "On a fixed held-out set. " + shared;
  page.figure(loss);
  page.figure(accuracy);
}

}  // namespace

void add_curves(Page& page, const std::string& title, const std::vector<SeedGroup>& groups) {
  const std::size_t parts = (groups.size() + kMostCurves - 1) / kMostCurves;
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = part * groups.size() / parts;
    const std::size_t end = (part + 1) * groups.size() / parts;
    add_pair(page, parts == 1 ? title : fmt::format("{}, {} of {}", title, part + 1, parts),
             std::span(groups).subspan(begin, end - begin));
  }
}

}  // namespace vla
