#include "tools/bench_output.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "framework/file.hpp"

namespace vla {
namespace {

double tokens_per_second(const BenchRow& row, const BenchShape& shape) {
  return static_cast<double>(shape.batch * shape.time) / row.seconds;
}

// The most bytes that the process has had in memory so far.
std::size_t peak_resident_bytes() {
  rusage usage{};
  check(::getrusage(RUSAGE_SELF, &usage) == 0, "bench: the system does not tell memory in use");
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

nlohmann::ordered_json as_json(const BenchRow& row, const BenchSetting& setting) {
  nlohmann::ordered_json json = {
      {"kind", row.kind}, {"name", row.name}, {"form", row.form}, {"pass", row.pass}};
  if (!row.skipped.empty()) {
    json["skipped"] = row.skipped;
    return json;
  }
  json.update({{"seconds", row.seconds},
               {"repeats", row.repeats},
               {"tokens_per_second", tokens_per_second(row, setting.shape)},
               {"bytes", row.bytes},
               {"peak_bytes", row.peak_bytes}});
  if (row.operations > 0)
    json.update({{"operations", row.operations},
                 {"operations_per_second", row.operations / row.seconds},
                 {"share_of_sgemm", row.operations / row.seconds / setting.sgemm}});
  return json;
}

}  // namespace

void print_bench_head(const BenchSetting& setting, std::ostream& out) {
  const BenchShape& shape = setting.shape;
  out << fmt::format(
      "{}, {} threads of {} cores, float32 product of {} x {} matrices: {:.1f} GFLOP/s\n"
      "batch {}, time {}, heads {}, width {} (d = {} a head), {}\n"
      "GFLOP/s counts {} d^2 operations a token and head for vla-operators forward, {} with\n"
      "backward, and half of it for inverse-penalty and delta-rule; MB: inputs and outputs;\n"
      "peak MB: of tensors\n\n",
      concatenate(shape.device), setting.threads, ::sysconf(_SC_NPROCESSORS_ONLN),
      setting.sgemm_size, setting.sgemm_size, setting.sgemm * 1e-9, shape.batch, shape.time,
      shape.heads, shape.width, shape.head_width(), concatenate(shape.dtype), kVlaOperations,
      kVlaOperations * kOperationsWithBackward);
  out << fmt::format("{:<20} {:<11} {:<17} {:>9} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8}\n", "name",
                     "form", "pass", "ms", "repeats", "tokens/s", "GFLOP/s", "of sgemm", "MB",
                     "peak MB");
}

void print_bench_row(const BenchRow& row, const BenchSetting& setting, std::ostream& out) {
  out << fmt::format("{:<20} {:<11} {:<17} ", row.name, row.form, row.pass);
  if (!row.skipped.empty()) {
    out << "skipped: " << row.skipped << std::endl;
    return;
  }
  const double rate = row.operations / row.seconds;
  const bool counted = row.operations > 0;
  out << fmt::format("{:>9.2f} {:>8} {:>9.0f} {:>9} {:>9} {:>8.2f} {:>8.2f}", row.seconds * 1e3,
                     row.repeats, tokens_per_second(row, setting.shape),
                     counted ? fmt::format("{:.2f}", rate * 1e-9) : "",
                     counted ? fmt::format("{:.1f} %", 100 * rate / setting.sgemm) : "",
                     static_cast<double>(row.bytes) * 1e-6,
                     static_cast<double>(row.peak_bytes) * 1e-6)
      << std::endl;
}

void print_bench_end(std::ostream& out) {
  out << fmt::format("\npeak resident memory of the process: {:.1f} MB",
                     static_cast<double>(peak_resident_bytes()) * 1e-6)
      << std::endl;
}

void write_bench(const std::filesystem::path& path, const std::vector<BenchRow>& rows,
                 const BenchSetting& setting) {
  const BenchShape& shape = setting.shape;
  nlohmann::ordered_json json = {{"version", VLA_VERSION},
                                 {"threads", setting.threads},
                                 {"sgemm_operations_per_second", setting.sgemm},
                                 {"batch", shape.batch},
                                 {"time", shape.time},
                                 {"heads", shape.heads},
                                 {"width", shape.width},
                                 {"dtype", concatenate(shape.dtype)},
                                 {"device", concatenate(shape.device)},
                                 {"peak_resident_bytes", peak_resident_bytes()},
                                 {"rows", nlohmann::ordered_json::array()}};
  for (const BenchRow& row : rows) json["rows"].push_back(as_json(row, setting));
  write_text(path, json.dump(2) + "\n");
}

}  // namespace vla
