#include "tools/run.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>

#include "framework/file.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

std::string to_line(const Metrics& metrics) {
  nlohmann::ordered_json json = {{"split", metrics.split},
                                 {"step", metrics.step},
                                 {"loss", metrics.loss},
                                 {"accuracy", metrics.accuracy},
                                 {"tokens_per_second", metrics.tokens_per_second}};
  for (const auto& [name, value] : metrics.more) {
    const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
    json[name] =
        whole ? nlohmann::ordered_json(static_cast<Index>(value)) : nlohmann::ordered_json(value);
  }
  return json.dump() + "\n";
}

// Takes a number out of a line's object.
double take(nlohmann::json& json, const std::string& name, const std::string& where) {
  check(json.contains(name) && json[name].is_number(), where, ": no number '", name, "'");
  const double value = json[name];
  json.erase(name);
  return value;
}

Metrics from_line(const std::string& line, const std::string& where) {
  nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  check(json.is_object(), where, ": not a JSON object");
  check(json.contains("split") && json["split"].is_string(), where, ": no text 'split'");
  const double step = take(json, "step", where);
  check(std::abs(step) < 1e18, where, ": no number 'step' below 10^18");
  Metrics metrics{.split = json["split"],
                  .step = static_cast<Index>(step),
                  .loss = take(json, "loss", where),
                  .accuracy = take(json, "accuracy", where),
                  .tokens_per_second = take(json, "tokens_per_second", where),
                  .more = {}};
  for (const auto& [name, value] : json.items())
    if (value.is_number()) metrics.more[name] = value;
  return metrics;
}

// A second name for the checkpoint, in place of what had that name. The name on the way is one of
// those that saving clears away, should the process end here. File systems without second names get
// a copy.
void name_too(const fs::path& file, const fs::path& name) {
  const fs::path link = concatenate(file.string(), ".", ::getpid(), ".0.tmp");
  std::error_code error;
  fs::remove(link, error);
  fs::create_hard_link(file, link, error);
  if (error) return replace_by_copy(name, file);
  rename_file(link, name);
  fs::remove(link, error);  // where both were one file already, the rename did nothing
}

// The step of checkpoint-STEP.safetensors, or -1 for another name.
Index kept_step(const fs::path& file) {
  constexpr std::string_view kBefore = "checkpoint-", kBehind = ".safetensors";
  const std::string whole = file.filename().string();
  std::string_view name = whole;
  if (!name.starts_with(kBefore) || !name.ends_with(kBehind)) return -1;
  name.remove_prefix(kBefore.size());
  name.remove_suffix(std::min(name.size(), kBehind.size()));
  Index step = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  return error == std::errc() && end == name.data() + name.size() ? step : -1;
}

void remove_file(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  check(!error, "cannot remove ", path.string(), ": ", error.message());
}

}  // namespace

RunDirectory::RunDirectory(fs::path path) : path_(std::move(path)) {
  std::error_code ignored;
  checkpoint_ = last_checkpoint();
  if (path_.extension() != ".safetensors" || fs::is_directory(path_, ignored)) return;
  checkpoint_ = path_;
  path_ = path_.has_parent_path() ? path_.parent_path() : ".";
}

std::vector<fs::path> RunDirectory::kept() const {
  std::vector<std::tuple<fs::file_time_type, Index, fs::path>> found;
  for (const fs::path& file : files_in(path_)) {
    std::error_code ignored;
    if (const Index step = kept_step(file); step >= 0)
      found.emplace_back(fs::last_write_time(file, ignored), step, file);
  }
  std::ranges::sort(found, std::greater{});
  std::vector<fs::path> result;
  for (auto& [time, step, file] : found) result.push_back(std::move(file));
  return result;
}

void RunDirectory::keep_last(Index step, Index count) const {
  const fs::path newest = path_ / concatenate("checkpoint-", step, ".safetensors");
  name_too(last_checkpoint(), newest);
  Index others = 0;
  for (const fs::path& file : kept())
    if (file != newest && ++others >= count) remove_file(file);
}

void RunDirectory::keep_best(const fs::path& checkpoint) const {
  name_too(checkpoint, best_checkpoint());
}

void RunDirectory::check_free(bool force) const {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return;
  check(fs::is_directory(path_, ignored), path_.string(), " exists and is not a directory");
  check(force || fs::is_empty(path_, ignored), path_.string(),
        " exists and is not overwritten; give another --out, --force to start it anew, or "
        "--resume to go on with it");
}

void RunDirectory::create(const TrainOptions& options) const {
  make_folder(path_);
  for (const fs::path& old : {metrics_path(), last_checkpoint(), best_checkpoint(), config_path()})
    remove_file(old);
  for (const fs::path& old : kept()) remove_file(old);
  write_text(config_path(), to_json(options));
}

TrainOptions RunDirectory::options() const {
  return options_from_json(read_text(config_path()), config_path().string());
}

std::vector<Metrics> RunDirectory::metrics() const {
  std::vector<Metrics> result;
  std::error_code ignored;
  if (!fs::exists(metrics_path(), ignored)) return result;
  std::istringstream lines(read_text(metrics_path()));
  for (std::string line; std::getline(lines, line);) {
    if (lines.eof()) break;  // cut off in the middle, when the run was ended from outside
    result.push_back(
        from_line(line, concatenate(metrics_path().string(), ", line ", result.size() + 1)));
  }
  return result;
}

std::optional<Metrics> RunDirectory::held_out() const {
  const std::vector<Metrics> lines = metrics();
  if (lines.empty() || !lines.back().held_out()) return std::nullopt;
  return lines.back();
}

void RunDirectory::append(const Metrics& line) const {
  std::ofstream file(metrics_path(), std::ios::app);
  file << to_line(line) << std::flush;
  check(file.good(), "cannot write ", metrics_path().string(), ": ", std::strerror(errno));
}

void RunDirectory::sync_metrics() const {
  std::error_code error;
  if (fs::exists(metrics_path(), error) || error) sync_file(metrics_path());
}

void RunDirectory::keep_metrics_until(Index step) const {
  std::string kept;
  for (const Metrics& line : metrics())
    if (line.step <= step && !line.held_out()) kept += to_line(line);
  write_text(metrics_path(), kept);
}

}  // namespace vla
