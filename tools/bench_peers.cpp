#include "tools/bench_peers.hpp"

#include <nlohmann/json.hpp>

#include "framework/file.hpp"

namespace vla {
namespace {

Index size_in(const nlohmann::json& row, const char* name, const std::string& where) {
  check(row.contains(name), where, "'", name, "' is missing");
  const nlohmann::json& value = row[name];
  check(value.is_number_integer() && value.get<Index>() >= 1, where, "'", name, "' is ",
        value.dump(), "; a whole number of 1 or more is needed");
  return value.get<Index>();
}

std::optional<double> milliseconds_in(const nlohmann::json& row, const char* name,
                                      const std::string& where) {
  if (!row.contains(name) || row[name].is_null()) return {};
  check(row[name].is_number() && row[name].get<double>() > 0, where, "'", name, "' is ",
        row[name].dump(), "; a number above 0 is needed");
  return row[name].get<double>();
}

PeerRow row_of(const nlohmann::json& row, const std::string& where) {
  check(row.is_object(), where, "not a JSON object");
  check(row.contains("name") && row["name"].is_string(), where, "'name' is not a string");
  PeerRow result{.name = row["name"].get<std::string>(),
                 .shape = {size_in(row, "batch", where), size_in(row, "heads", where),
                           size_in(row, "time", where), size_in(row, "width", where)},
                 .forward_ms = milliseconds_in(row, "forward_ms", where),
                 .both_ms = milliseconds_in(row, "both_ms", where)};
  check(result.forward_ms || result.both_ms, where, "forward_ms or both_ms is needed");
  return result;
}

}  // namespace

std::optional<double> PeerRow::seconds(const std::string& pass) const {
  const std::optional<double> ms = pass == "forward+backward" ? both_ms : forward_ms;
  return ms ? std::optional(*ms * 1e-3) : std::nullopt;
}

Peers read_peers(const std::filesystem::path& path) {
  Peers peers{.text = read_text(path), .rows = {}};
  const nlohmann::json json = nlohmann::json::parse(peers.text, nullptr, false);
  check(json.is_object() && json.contains("rows") && json["rows"].is_array(), path.string(),
        ": not a JSON object with \"rows\"");
  for (const nlohmann::json& row : json["rows"])
    peers.rows.push_back(
        row_of(row, concatenate(path.string(), ": row ", peers.rows.size() + 1, ": ")));
  return peers;
}

}  // namespace vla
