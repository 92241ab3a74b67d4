#include "tools/bench_attention_output.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <ostream>

#include "framework/cuda/runtime.hpp"
#include "framework/file.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

// Name, driver and runtime of a GPU; of the CPU its threads.
nlohmann::ordered_json device_json(Device device) {
  nlohmann::ordered_json json = {{"device", concatenate(device)}};
  if constexpr (kCudaBuild) {
    if (!device.is_cpu()) {
      const cuda::Properties& found = cuda::properties(device);
      const auto text = [](int version) {
        return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
      };
      json["name"] = found.name;
      json["driver_cuda"] = text(found.driver);
      json["runtime_cuda"] = text(found.runtime);
      return json;
    }
  }
  json["threads"] = thread_count();
  return json;
}

std::vector<PeerRow> peers_of(const AttentionShape& shape, const Peers& peers) {
  std::vector<PeerRow> rows;
  for (const PeerRow& row : peers.rows)
    if (row.shape == shape) rows.push_back(row);
  return rows;
}

nlohmann::ordered_json options_json(const BenchAttentionOptions& options) {
  return {{"device", options.device},       {"dtype", concatenate(options.dtype)},
          {"shapes", options.shapes},       {"operators", options.operators},
          {"repeats", options.repeats},     {"decode", options.decode},
          {"peers", options.peers.string()}};
}

nlohmann::ordered_json row_json(const BenchAttentionRow& row, const AttentionSetting& setting) {
  nlohmann::ordered_json json = {{"operator", row.op},       {"batch", row.shape.batch},
                                 {"heads", row.shape.heads}, {"time", row.shape.time},
                                 {"width", row.shape.width}, {"pass", row.pass}};
  if (!row.skipped.empty()) {
    json["skipped"] = row.skipped;
    return json;
  }
  json.update({{"seconds", row.seconds},
               {"bytes", row.bytes},
               {"floor_seconds", row.bytes / setting.bandwidth},
               {"bytes_per_second", row.bytes / row.seconds}});
  if (row.operations > 0)
    json.update(
        {{"operations", row.operations}, {"operations_per_second", row.operations / row.seconds}});
  nlohmann::ordered_json ratios = nlohmann::ordered_json::array();
  for (const PeerRow& peer : peers_of(row.shape, setting.peers))
    if (const auto seconds = peer.seconds(row.pass))
      ratios.push_back({{"peer", peer.name}, {"ours_over_peer", row.seconds / *seconds}});
  if (!ratios.empty()) json["ratios"] = ratios;
  return json;
}

// Short times in microseconds, as a step takes.
double in_unit(double seconds, const AttentionSetting& setting) {
  return seconds * (setting.options.decode ? 1e6 : 1e3);
}

void print_row(const BenchAttentionRow& row, const std::vector<PeerRow>& peers,
               const AttentionSetting& setting, std::ostream& out) {
  out << fmt::format("{:<9} {:<17}", row.op, row.pass);
  if (!row.skipped.empty()) {
    out << " " << row.skipped << "\n";
    return;
  }
  const double floor = row.bytes / setting.bandwidth;
  out << fmt::format(
      "{:>10.4f} {:>9.4f} {:>9} {:>8.4f}", in_unit(row.seconds, setting), in_unit(floor, setting),
      row.operations > 0 ? fmt::format("{:.3f}", row.operations / row.seconds * 1e-12) : "",
      row.bytes / row.seconds * 1e-12);
  for (const PeerRow& peer : peers) {
    const auto seconds = peer.seconds(row.pass);
    out << (seconds ? fmt::format(" {:>8.2f}", row.seconds / *seconds) : fmt::format(" {:>8}", ""));
  }
  out << "\n";
}

// "[1] flash softmax (PyTorch 2.11): forward 0.1 ms, forward+backward 0.35 ms".
void print_peer(std::size_t number, const PeerRow& peer, const AttentionSetting& setting,
                std::ostream& out) {
  const char* unit = setting.options.decode ? "us" : "ms";
  const auto time = [&](const char* pass) {
    return fmt::format("{} {:.4f} {}", pass, in_unit(*peer.seconds(pass), setting), unit);
  };
  out << fmt::format("[{}] {}: ", number, peer.name);
  if (peer.forward_ms) out << time(setting.options.decode ? "step" : "forward");
  if (peer.both_ms) out << (peer.forward_ms ? ", " : "") << time("forward+backward");
  out << "\n";
}

}  // namespace

void print_attention_head(const AttentionSetting& setting, std::ostream& out) {
  out << concatenate(setting.options.dtype) << ", median of " << setting.options.repeats;
  const nlohmann::ordered_json device = device_json(setting.device);
  for (const auto& [name, value] : device.items())
    out << ", " << name << " " << (value.is_string() ? value.get<std::string>() : value.dump());
  out << fmt::format(
      "\ncopy {:.3f} TB/s; floor: the least bytes at that speed; TB/s: those bytes in the time "
      "taken\n",
      setting.bandwidth * 1e-12);
}

void print_attention_shape(const std::vector<BenchAttentionRow>& rows,
                           const AttentionSetting& setting, std::ostream& out) {
  const AttentionShape& shape = rows.front().shape;
  const std::vector<PeerRow> peers = peers_of(shape, setting.peers);
  const char* unit = setting.options.decode ? "us" : "ms";
  out << fmt::format("\n{}\n{:<9} {:<17}{:>10} {:>9} {:>9} {:>8}", to_text(shape), "operator",
                     "pass", unit, fmt::format("floor {}", unit), "TFLOP/s", "TB/s");
  for (std::size_t i = 1; i <= peers.size(); ++i)
    out << fmt::format(" {:>8}", fmt::format("/ [{}]", i));
  out << "\n";
  for (const BenchAttentionRow& row : rows) print_row(row, peers, setting, out);
  for (std::size_t i = 0; i < peers.size(); ++i) print_peer(i + 1, peers[i], setting, out);
  out << std::flush;
}

void write_attention(const std::filesystem::path& path, const std::vector<BenchAttentionRow>& rows,
                     const AttentionSetting& setting) {
  nlohmann::ordered_json json = {
      {"version", VLA_VERSION},
      {"date", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
      {"machine", device_json(setting.device)},
      {"options", options_json(setting.options)},
      {"copy_bytes_per_second", setting.bandwidth},
      {"rows", nlohmann::ordered_json::array()},
      {"peers", nlohmann::ordered_json::parse(setting.peers.text)}};
  for (const BenchAttentionRow& row : rows) json["rows"].push_back(row_json(row, setting));
  write_text(path, json.dump(2) + "\n");
}

}  // namespace vla
