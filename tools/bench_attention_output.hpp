// What `vla bench attention` prints and writes.
#pragma once

#include "tools/bench_attention.hpp"
#include "tools/bench_peers.hpp"

namespace vla {

/// What all rows were measured with.
struct AttentionSetting {
  BenchAttentionOptions options;  ///< with the shapes and operators that were chosen
  Device device = {};
  double bandwidth = 0;  ///< bytes per second that a copy reads and writes
  Peers peers = {};
};

void print_attention_head(const AttentionSetting& setting, std::ostream& out);
/// The rows of one shape, with the peers' of it and the ratio of ours to theirs.
void print_attention_shape(const std::vector<BenchAttentionRow>& rows,
                           const AttentionSetting& setting, std::ostream& out);
void write_attention(const std::filesystem::path& path, const std::vector<BenchAttentionRow>& rows,
                     const AttentionSetting& setting);

}  // namespace vla
