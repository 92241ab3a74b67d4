#include "framework/profiler.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "framework/cuda/launches.hpp"
#include "framework/file.hpp"
#include "framework/table.hpp"
#include "framework/tape.hpp"

namespace vla {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kProcess = 1, kCpuTrack = 1, kCudaTrack = 2;

const char* word_of(Profiler::Pass pass) {
  switch (pass) {
    case Profiler::Pass::forward:
      return "forward";
    case Profiler::Pass::backward:
      return "backward";
    case Profiler::Pass::span:
      return "span";
    case Profiler::Pass::other:
      break;
  }
  return "";
}

std::vector<cuda::Profile::Launch> launches_of(const std::shared_ptr<cuda::Profile>& profile) {
  if constexpr (kCudaBuild)
    if (profile) return profile->launches();
  return {};
}

Json track_name(int track, const char* name) {
  return {{"name", "thread_name"},
          {"ph", "M"},
          {"pid", kProcess},
          {"tid", track},
          {"args", {{"name", name}}}};
}

// A box of the trace; its times are microseconds.
Json box(const std::string& name, const char* category, int track, double begin, double seconds) {
  return {{"name", name},         {"cat", category}, {"ph", "X"},   {"ts", begin * 1e6},
          {"dur", seconds * 1e6}, {"pid", kProcess}, {"tid", track}};
}

std::string milliseconds(double seconds) { return rounded(seconds * 1e3, 4); }

}  // namespace

Profiler::Profiler(Device device) : device_(device) {
  if constexpr (kCudaBuild)
    if (!device.is_cpu()) cuda_ = std::make_shared<cuda::Profile>(device);
  start_ = std::chrono::steady_clock::now();
}

Profiler::~Profiler() = default;

double Profiler::now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

std::size_t Profiler::launches_begun() const {
  if constexpr (kCudaBuild)
    if (cuda_) return cuda_->count();
  return 0;
}

std::size_t Profiler::add(std::string name, Pass pass, CallSite site) {
  events_.push_back({std::move(name), pass, site, mark_, mark_, 0, {}, 0});
  return events_.size() - 1;
}

void Profiler::give_time_to(std::size_t event) {
  Event& into = events_[event];
  const double time = now();
  into.own += time - mark_;
  into.end = mark_ = time;
  for (const std::size_t begun = launches_begun(); launch_mark_ < begun; ++launch_mark_)
    into.launches.push_back(launch_mark_);
  into.bytes = memory_statistics(device_).live;
}

void Profiler::give_gap_to(const char* name) { give_time_to(add(name, Pass::other)); }

void Profiler::begin_frame(std::string name, Pass pass, CallSite site) {
  frames_.push_back(add(std::move(name), pass, site));
}

// All that began inside: a rule that threw has not ended.
void Profiler::end_frames(std::size_t depth) {
  for (; frames_.size() > depth; frames_.pop_back()) give_time_to(frames_.back());
}

Profiler::Span Profiler::span(std::string name) {
  if (frames_.empty())
    give_gap_to("outside of ops");
  else
    give_time_to(frames_.back());
  const std::size_t depth = frames_.size();
  begin_frame(std::move(name), Pass::span, {});
  return Span(*this, depth);
}

void Profiler::after_op(const OpRun& op) {
  const bool in_a_rule = !frames_.empty() && events_[frames_.back()].pass == Pass::backward;
  if (in_a_rule && !Tape::current()) return;  // a part of the rule
  give_time_to(add(op.name, Pass::forward, op.site));
}

void Profiler::before_rule(const RuleRun& rule) {
  give_gap_to("gradients added up, hooks");
  begin_frame(rule.name, Pass::backward, rule.site);
}

void Profiler::after_rule(const RuleRun&) {
  if (!frames_.empty()) end_frames(frames_.size() - 1);
}

void Profiler::at_tape(const TapeEvent& event) {
  if (event == TapeEvent::walk_ends)
    give_gap_to("gradients added up, hooks");
  else if (!frames_.empty())
    give_time_to(frames_.back());
  else
    give_gap_to(event == TapeEvent::made ? "outside of tapes" : "outside of ops");
}

std::vector<Profiler::Row> Profiler::rows() const {
  const std::vector<cuda::Profile::Launch> launches = launches_of(cuda_);
  std::map<std::pair<std::string, Pass>, Row> by_op;
  for (const Event& event : events_) {
    Row& row =
        by_op.try_emplace({event.name, event.pass}, Row{event.name, event.pass}).first->second;
    row.count += 1;
    row.cpu_seconds += event.own;
    row.launches += static_cast<std::int64_t>(event.launches.size());
    for (const std::size_t launch : event.launches) row.cuda_seconds += launches[launch].seconds;
  }
  std::vector<Row> rows;
  for (const auto& [op, row] : by_op) rows.push_back(row);
  std::ranges::stable_sort(rows, std::greater(), cuda_ ? &Row::cuda_seconds : &Row::cpu_seconds);
  return rows;
}

std::string Profiler::table() const {
  const std::vector<Row> rows = this->rows();
  double cpu = 0, cuda = 0;
  for (const Row& row : rows) {
    cpu += row.cpu_seconds;
    cuda += row.cuda_seconds;
  }
  const auto share = [](double part, double all) {
    return all > 0 ? rounded(100 * part / all) + " %" : "-";
  };
  Table table = {{"op", "pass", "count", "CPU ms", "share"}};
  if (cuda_) table.front().insert(table.front().end(), {"launches", "CUDA ms", "share"});
  for (const Row& row : rows) {
    table.push_back({row.op, word_of(row.pass), std::to_string(row.count),
                     milliseconds(row.cpu_seconds), share(row.cpu_seconds, cpu)});
    if (cuda_)
      table.back().insert(table.back().end(),
                          {std::to_string(row.launches), milliseconds(row.cuda_seconds),
                           share(row.cuda_seconds, cuda)});
  }
  table.push_back({"together", "", "", milliseconds(cpu), ""});
  if (cuda_) table.back().insert(table.back().end(), {"", milliseconds(cuda), ""});
  std::vector<bool> to_the_right(table.front().size(), true);
  to_the_right[0] = to_the_right[1] = false;
  return aligned(table, to_the_right);
}

void Profiler::write_trace(const std::filesystem::path& file) const {
  Json events = Json::array({track_name(kCpuTrack, "CPU")});
  for (const Event& event : events_) {
    if (event.pass == Pass::other) continue;
    events.push_back(
        box(event.name, word_of(event.pass), kCpuTrack, event.begin, event.end - event.begin));
    if (event.site.line > 0)
      events.back()["args"] = {{"file", event.site.file}, {"line", event.site.line}};
    events.push_back({{"name", "memory"},
                      {"ph", "C"},
                      {"ts", event.end * 1e6},
                      {"pid", kProcess},
                      {"args", {{"bytes", event.bytes}}}});
  }
  if (cuda_) events.push_back(track_name(kCudaTrack, "CUDA"));
  for (const cuda::Profile::Launch& launch : launches_of(cuda_))
    events.push_back(box(launch.op, "launch", kCudaTrack, launch.start, launch.seconds));
  write_text(file, Json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump(
                       1, ' ', false, Json::error_handler_t::replace) +
                       "\n");
}

}  // namespace vla
