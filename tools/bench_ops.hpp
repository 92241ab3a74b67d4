// How near the ops that only move numbers come to the speed of memory.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

struct BenchOpsOptions {
  std::string device = "cpu";
  DType dtype = DType::float32;
  Index rows = 65536, width = 1024;
  Index repeats = 9;  ///< of which the median counts
  std::filesystem::path json = {};
};

struct BenchOpsRow {
  std::string op, pass;  ///< forward or backward
  double seconds = 0;
  double bytes = 0;  ///< what must be read and written, each once
  double share = 0;  ///< of the bandwidth of a copy in the same run
};

/// Measures elementwise ops, normalisations, softmax, reductions and moves on (rows, width). Prints
/// a line per op and pass to `out`.
std::vector<BenchOpsRow> run_bench_ops(const BenchOpsOptions& options, std::ostream& out);

}  // namespace vla
