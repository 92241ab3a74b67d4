#include "tools/bench_train.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "framework/cuda/launches.hpp"
#include "framework/file.hpp"
#include "framework/table.hpp"
#include "tools/stopwatch.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

constexpr Index kWarmUp = 10, kGroups = 5, kProfiled = 5;

std::int64_t launches() {
  if constexpr (kCudaBuild) return cuda::launches();
  return 0;
}

std::vector<OpTime> profile(const TrainOptions& options) {
  std::vector<OpTime> result;
  if constexpr (kCudaBuild) {
    TrainOptions eager = options;
    eager.graph = false;
    Training training(eager);
    if (training.device().is_cpu()) return result;
    for (Index i = 0; i < kWarmUp; ++i) training.step();
    cuda::Profile profile(training.device());
    for (Index i = 0; i < kProfiled; ++i) training.step();
    for (const cuda::Profile::Row& row : profile.rows())
      result.push_back({row.op, static_cast<double>(row.launches) / kProfiled,
                        row.seconds / static_cast<double>(kProfiled)});
  }
  return result;
}

void print(const BenchTrainResult& result, std::ostream& out) {
  out << fmt::format("step {:.3f} ms, {:.0f} tokens/s, {:.0f} launches a step, peak {:.1f} MB\n",
                     result.step_seconds * 1e3, result.tokens_per_second, result.launches,
                     static_cast<double>(result.peak_bytes) * 1e-6);
  if (result.ops.empty()) return;
  double all = 0;
  for (const OpTime& op : result.ops) all += op.seconds;
  Table table{{"op, forward and backward", "launches", "ms", "share"}};
  for (const OpTime& op : result.ops)
    table.push_back({op.op, fmt::format("{:.1f}", op.launches), rounded(op.seconds * 1e3, 4),
                     rounded(100 * op.seconds / all) + " %"});
  table.push_back({"together", "", rounded(all * 1e3, 4), ""});
  out << "\nEach launch timed by itself, not captured:\n"
      << aligned(table, {false, true, true, true});
}

void write(const std::filesystem::path& path, const BenchTrainOptions& options,
           const BenchTrainResult& result) {
  nlohmann::ordered_json json = {{"version", VLA_VERSION},
                                 {"settings", nlohmann::json::parse(to_json(options.train))},
                                 {"step_seconds", result.step_seconds},
                                 {"tokens_per_second", result.tokens_per_second},
                                 {"launches", result.launches},
                                 {"peak_bytes", result.peak_bytes},
                                 {"ops", nlohmann::ordered_json::array()}};
  for (const OpTime& op : result.ops)
    json["ops"].push_back({{"op", op.op}, {"launches", op.launches}, {"seconds", op.seconds}});
  write_text(path, json.dump(2) + "\n");
}

}  // namespace

BenchTrainResult run_bench_train(const BenchTrainOptions& options, std::ostream& out) {
  check_settings(options.train);
  check(options.measured >= kGroups, "--measured ", options.measured, " is not allowed; ", kGroups,
        " or more");
  if (!options.json.empty()) check_replaceable(options.json);
  BenchTrainResult result;
  {
    reset_peak_memory(parse_device(options.train.device));
    Training training(options.train);
    for (Index i = 0; i < kWarmUp; ++i) training.step();
    training.wait();
    const Index steps = options.measured / kGroups;
    const std::int64_t before = launches();
    std::vector<double> seconds;
    for (Index group = 0; group < kGroups; ++group) {
      Stopwatch watch;
      for (Index i = 0; i < steps; ++i) training.step();
      training.wait();
      seconds.push_back(watch.lap() / static_cast<double>(steps));
    }
    std::ranges::sort(seconds);
    result.step_seconds = seconds[kGroups / 2];
    result.tokens_per_second =
        static_cast<double>(training.tokens_per_step()) / result.step_seconds;
    result.launches =
        static_cast<double>(launches() - before) / static_cast<double>(steps * kGroups);
    result.peak_bytes = memory_statistics(training.device()).peak;
  }
  result.ops = profile(options.train);
  print(result, out);
  if (!options.json.empty()) write(options.json, options, result);
  return result;
}

}  // namespace vla
