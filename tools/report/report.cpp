#include "tools/report/report.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "tools/report/curves.hpp"
#include "tools/report/measured.hpp"
#include "tools/report/run_table.hpp"
#include "tools/report/sizes.hpp"
#include "tools/report/times.hpp"

namespace vla {
namespace {

constexpr std::size_t kMostSettings = 6;  // with curves

std::string title_of(const ReportSources& sources) {
  std::string title;
  for (const ResultsFile& experiment : sources.experiments)
    title += (title.empty() ? "" : ", ") + experiment.name;
  if (const std::size_t count = sources.runs.size(); count > 0)
    title += fmt::format("{}{} run{}", title.empty() ? "" : ", ", count, count == 1 ? "" : "s");
  return title;
}

// Rows without numbers say the same in one line.
void add_table(Page& page, const Table& table) {
  Table shown = {table.front()};
  std::map<std::string, std::string> others;
  for (auto row = table.begin() + 1; row != table.end(); ++row) {
    const auto why = std::ranges::find_first_of(
        *row, std::array<std::string, 3>{"not run", "failed", "skipped"});
    if (why == row->end()) {
      shown.push_back(*row);
      continue;
    }
    std::string& list = others[*why];
    list += (list.empty() ? "" : "; ") + row->front();
    for (std::size_t i = 1; i < 3 && i < row->size() && (*row)[i] != *why; ++i)
      if ((*row)[i] != "-") list += " " + (*row)[i];
  }
  if (shown.size() > 1) page.table(shown);
  for (const auto& [why, list] : others) page.paragraph(why + ": " + list + ".");
}

std::vector<SeedGroup> groups_of(const ResultsFile& experiment, const std::string& setting) {
  std::vector<SeedGroup> groups;
  for (const CellResult& cell : experiment.cells) {
    if (cell.setting != setting) continue;
    groups.push_back({.label = cell.model, .model = cell.model});
    for (const SeedResult& seed : cell.seeds) groups.back().runs.emplace_back(seed.directory);
  }
  return groups;
}

void add_experiment_curves(Page& page, const ResultsFile& experiment) {
  const std::vector<std::string> settings = experiment.settings();
  std::string left_out;
  if (!settings.empty()) page.subsection("Training");
  for (std::size_t i = 0; i < settings.size(); ++i)
    if (i < kMostSettings)
      add_curves(page, settings[i], groups_of(experiment, settings[i]));
    else
      left_out += (left_out.empty() ? "" : ", ") + settings[i];
  if (!left_out.empty())
    page.paragraph("Curves of further settings are left out, to keep the page short: " + left_out +
                   ". Give the directories of their runs to see them.");
}

void add_experiment(Page& page, const ResultsFile& experiment) {
  page.section(experiment.name);
  page.paragraph(experiment.description + ".");
  page.paragraph(experiment.made_with + ".");
  add_table(page, experiment.table);
  add_size_figures(page, experiment);
  add_time_figures(page, experiment.directory);
  add_measured_figures(page, experiment);
  add_experiment_curves(page, experiment);
}

void add_runs(Page& page, const std::vector<RunDirectory>& runs) {
  page.section("Runs");
  page.table(run_table(runs));
  for (const TaskGroups& task : grouped(runs)) {
    add_curves(page, task.task, task.groups);
    for (const SeedGroup& group : task.groups)
      page.paragraph(group.label + ": `vla train " + settings_text(group.runs.front().options()) +
                     "`");
  }
}

}  // namespace

std::vector<RunDirectory> ReportSources::all_runs() const {
  std::vector<RunDirectory> all = runs;
  for (const ResultsFile& experiment : experiments)
    for (const CellResult& cell : experiment.cells)
      for (const SeedResult& seed : cell.seeds)
        if (std::filesystem::exists(seed.directory)) all.emplace_back(seed.directory);
  return all;
}

ReportSources read_sources(const std::vector<std::string>& directories) {
  ReportSources sources{.directories = directories};
  for (const std::string& directory : directories) {
    if (is_experiment(directory)) {
      sources.experiments.push_back(read_results(directory));
    } else {
      sources.runs.emplace_back(directory);
      sources.runs.back().options();  // refuses what is no run
    }
  }
  return sources;
}

std::filesystem::path write_report(const ReportSources& sources,
                                   const std::filesystem::path& folder,
                                   const InsidesOptions& insides) {
  Page page(folder);
  page.title(title_of(sources));
  Words command = {"vla", "report"};
  command.insert(command.end(), sources.directories.begin(), sources.directories.end());
  page.paragraph(fmt::format("Made with `{}`, version {}, {:%Y-%m-%d %H:%M}.",
                             command_text(command), VLA_VERSION,
                             fmt::localtime(std::time(nullptr))));
  if (!sources.runs.empty()) add_runs(page, sources.runs);
  for (const ResultsFile& experiment : sources.experiments) add_experiment(page, experiment);
  add_insides(page, sources.all_runs(), insides);
  page.write();
  return page.file();
}

}  // namespace vla
