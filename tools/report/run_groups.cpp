#include "tools/report/run_groups.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "tools/experiments/plan.hpp"

namespace vla {
namespace {

// Settings with their values as text.
using Values = std::vector<std::pair<std::string, std::string>>;

auto into(Values& values) {
  return [&values](const std::string& name, auto& value, const char*) {
    values.emplace_back(name, setting_text(value));
  };
}

Values unlike(const Values& values, const Values& usual) {
  Values result;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] != usual[i]) result.push_back(values[i]);
  return result;
}

// What a run has in common with its other seeds.
Values shared_values(TrainOptions options) {
  Values values;
  visit_settings(options, into(values));
  std::erase_if(
      values, [](const auto& one) { return one.first == "seed" || is_about_computing(one.first); });
  return values;
}

std::string task_text(TrainOptions options) {
  TaskConfig usual;
  Values values, defaults;
  visit_task_settings(options.data, into(values));
  visit_task_settings(usual, into(defaults));
  std::string text = options.task;
  for (const auto& [name, value] : unlike(values, defaults)) text += ", " + name + " " + value;
  return text;
}

// Groups of one model get the settings in which they differ added to its name.
void tell_apart(std::vector<SeedGroup>& groups, const std::vector<Values>& values) {
  for (std::size_t i = 0; i < groups.size(); ++i) {
    std::set<std::string> differing;
    for (std::size_t j = 0; j < groups.size(); ++j)
      if (groups[i].model == groups[j].model)
        for (const auto& [name, value] : unlike(values[i], values[j])) differing.insert(name);
    for (const auto& [name, value] : values[i])
      if (differing.contains(name)) groups[i].label += ", " + name + " " + value;
  }
}

// The entry with this name, made at the end if there is none.
std::size_t place_of(const std::string& task, std::vector<TaskGroups>& tasks) {
  const auto found = std::ranges::find(tasks, task, &TaskGroups::task);
  const auto place = static_cast<std::size_t>(found - tasks.begin());
  if (found == tasks.end()) tasks.push_back({.task = task});
  return place;
}

}  // namespace

std::vector<TaskGroups> grouped(const std::vector<RunDirectory>& runs) {
  std::vector<TaskGroups> tasks;
  std::vector<std::vector<Values>> values;  // of every group of every task
  for (const RunDirectory& run : runs) {
    const TrainOptions options = run.options();
    const std::size_t task = place_of(task_text(options), tasks);
    values.resize(tasks.size());
    const Values shared = shared_values(options);
    const auto found = std::ranges::find(values[task], shared);
    const auto group = static_cast<std::size_t>(found - values[task].begin());
    if (found == values[task].end()) {
      values[task].push_back(shared);
      tasks[task].groups.push_back({.label = options.model, .model = options.model});
    }
    tasks[task].groups[group].runs.push_back(run);
  }
  for (std::size_t task = 0; task < tasks.size(); ++task)
    tell_apart(tasks[task].groups, values[task]);
  return tasks;
}

std::string settings_text(const TrainOptions& options) {
  Words words;
  for (const auto& [name, value] : unlike(shared_values(options), shared_values({})))
    words.insert(words.end(), {"--" + name, value});
  return command_text(words);
}

}  // namespace vla
