// How fast the attention operators alone are, side by side and beside other programs.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "tools/attention_cases.hpp"

namespace vla {

struct BenchAttentionOptions {
  std::string device = "cpu";
  DType dtype = DType::float32;
  std::string shapes = {};        ///< BxHxTxd with commas between; empty: the usual of the device
  std::string operators = "all";  ///< names with commas between
  Index repeats = 9;              ///< of which the median counts
  bool decode = false;            ///< one token a sequence at a time, with what is carried
  std::filesystem::path peers = {}, json = {};
  Index copy_bytes = 0;  ///< of the copy that bandwidth is measured with; 0: the usual
};

/// An operator in a shape, in one pass.
struct BenchAttentionRow {
  std::string op;
  AttentionShape shape;
  std::string pass;       ///< forward, forward+backward; step, step as graph
  double seconds = 0;     ///< median of the repeats
  double operations = 0;  ///< see attention_cases.cpp; 0: not counted
  /// The least traffic. Forward reads inputs and writes the output; backward reads inputs and the
  /// output's gradient and writes the inputs' gradients; a step reads inputs and what is carried,
  /// writes the output and what is carried.
  double bytes = 0;
  std::string skipped = {};  ///< why it was not measured; empty: it was
};

/// Measures every operator in every shape, those of a shape in turns, so that what slows the device
/// down for a while slows them all. Prints a table per shape to `out`. What does not fit into
/// memory is left out. Throws Error for options that are not allowed and for files that cannot be
/// read or written, before anything is measured.
std::vector<BenchAttentionRow> run_bench_attention(const BenchAttentionOptions& options,
                                                   std::ostream& out);

}  // namespace vla
