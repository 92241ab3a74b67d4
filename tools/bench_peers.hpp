// Times of other programs, measured by them and given as a file, to be compared with.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tools/attention_cases.hpp"

namespace vla {

struct PeerRow {
  std::string name;
  AttentionShape shape;
  std::optional<double> forward_ms, both_ms;  ///< one of them at least

  /// What compares with a pass of ours: forward_ms with all but forward+backward.
  std::optional<double> seconds(const std::string& pass) const;
};

struct Peers {
  std::string text = "null";  ///< the JSON they were read from
  std::vector<PeerRow> rows;
};

/// Reads a file {"device": "...", "rows": [{"name": "...", "batch": 8, "heads": 16, "time": 1024,
/// "width": 64, "forward_ms": 0.1, "both_ms": 0.35}, ...]}; what else stands in it is left alone.
/// Throws Error, beginning with the path, for another.
Peers read_peers(const std::filesystem::path& path);

}  // namespace vla
