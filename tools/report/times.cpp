#include "tools/report/times.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "framework/file.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kBaseline = "softmax";

bool is_bench_file(const fs::path& file) {
  return file.extension() == ".json" && file.filename().string().starts_with("T-");
}

// Of a layer that has two forms the faster one is kept.
void add(std::vector<LayerTime>& times, LayerTime time) {
  const auto other = std::ranges::find_if(times, [&](const LayerTime& there) {
    return there.layer == time.layer && there.pass == time.pass && there.length == time.length;
  });
  if (other == times.end())
    times.push_back(std::move(time));
  else if (time.milliseconds < other->milliseconds)
    *other = std::move(time);
}

void read_times(const fs::path& file, std::vector<LayerTime>& times) {
  const Json json = Json::parse(read_text(file), nullptr, false);
  try {
    for (const Json& row : json.at("rows")) {
      if (row.contains("skipped")) continue;
      add(times, {.layer = row.at("name"),
                  .pass = row.at("pass"),
                  .length = json.at("time"),
                  .batch = json.at("batch"),
                  .milliseconds = 1e3 * row.at("seconds").get<double>(),
                  .tokens_per_second = row.at("tokens_per_second"),
                  .peak_megabytes = 1e-6 * row.at("peak_bytes").get<double>()});
    }
  } catch (const Json::exception& error) {
    fail(file.string(), ": not as vla bench writes it: ", error.what());
  }
}

std::vector<std::string> names(const std::vector<LayerTime>& times,
                               std::string LayerTime::*member) {
  std::vector<std::string> result;
  for (const LayerTime& time : times)
    if (std::ranges::find(result, time.*member) == result.end()) result.push_back(time.*member);
  return result;
}

std::string batches(const std::vector<LayerTime>& times) {
  const LayerTime &first = times.front(), &last = times.back();
  if (first.batch == last.batch) return fmt::format("Batch {}.", first.batch);
  return fmt::format("Batch {} at T {} to {} at T {}.", first.batch, first.length, last.batch,
                     last.length);
}

LineFigure figure_of(const std::vector<LayerTime>& times, const std::string& title,
                     const std::string& unit, double LayerTime::*member) {
  LineFigure figure{.title = title,
                    .x_label = "T",
                    .y_label = unit,
                    .x_scale = Scale::logarithmic,
                    .y_scale = Scale::logarithmic};
  for (const std::string& layer : names(times, &LayerTime::layer)) {
    Line line{.label = layer};
    for (const LayerTime& time : times) {
      if (time.layer != layer) continue;
      line.x.push_back(time.length);
      line.y.push_back(time.*member);
    }
    figure.lines.push_back(std::move(line));
  }
  return figure;
}

}  // namespace

std::vector<LayerTime> layer_times(const fs::path& directory) {
  std::vector<LayerTime> times;
  for (const fs::path& file : files_in(directory))
    if (is_bench_file(file)) read_times(file, times);
  std::ranges::stable_sort(times, {}, &LayerTime::length);
  return times;
}

std::string crossovers(const std::vector<LayerTime>& times) {
  std::map<double, double> baseline;
  for (const LayerTime& time : times)
    if (time.layer == kBaseline) baseline[time.length] = time.milliseconds;
  if (baseline.empty()) return "";
  std::string faster, others;
  for (const std::string& layer : names(times, &LayerTime::layer)) {
    if (layer == kBaseline) continue;
    // Faster from there on; the longest that both were tried at.
    const LayerTime *from = nullptr, *last = nullptr;
    for (const LayerTime& time : times) {  // in the order of their lengths
      const auto there = baseline.find(time.length);
      if (time.layer != layer || there == baseline.end()) continue;
      last = &time;
      if (time.milliseconds >= there->second)
        from = nullptr;
      else if (!from)
        from = &time;
    }
    if (from)
      faster += fmt::format("{}{} from T {} on", faster.empty() ? "" : ", ", layer, from->length);
    else if (last)
      others += fmt::format("{}{} (to T {})", others.empty() ? "" : ", ", layer, last->length);
  }
  std::string text;
  if (!faster.empty()) text += fmt::format("Faster than {}: {}.", kBaseline, faster);
  if (!others.empty()) text += fmt::format("{}Not faster: {}.", text.empty() ? "" : " ", others);
  return text;
}

void add_time_figures(Page& page, const fs::path& directory) {
  const std::vector<LayerTime> all = layer_times(directory);
  for (const std::string& pass : names(all, &LayerTime::pass)) {
    std::vector<LayerTime> times;
    std::ranges::copy_if(all, std::back_inserter(times),
                         [&](const LayerTime& time) { return time.pass == pass; });
    LineFigure milliseconds =
        figure_of(times, "Time of a call, " + pass, "ms", &LayerTime::milliseconds);
    milliseconds.caption =
        "Of each layer the faster form. " + crossovers(times) + " " + batches(times);
    page.figure(milliseconds);
    page.figure(figure_of(times, "Speed, " + pass, "tokens/s", &LayerTime::tokens_per_second));
    page.figure(
        figure_of(times, "Peak memory of tensors, " + pass, "MB", &LayerTime::peak_megabytes));
  }
}

}  // namespace vla
