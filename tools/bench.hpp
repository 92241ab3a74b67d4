// How fast operators and layers are, side by side in one run.
#pragma once

#include <cstddef>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "tools/bench_cases.hpp"

namespace vla {

struct BenchOptions {
  BenchShape shape;
  Index repeats = 5;
  double limit = 20;              ///< seconds that the timed calls of a row may take
  std::string operators = "all";  ///< names with commas between, all or none
  std::string layers = "all";
  std::filesystem::path json = {};  ///< where the rows are written too; empty: nowhere
  Index sgemm_size = 2048;  ///< rows and columns of the product that rates are compared with
};

/// One case, forward alone or with its backward pass.
struct BenchRow {
  std::string kind;  ///< operator or layer
  std::string name, form;
  std::string pass;  ///< forward or forward+backward
  Index repeats = 0;
  double seconds = 0;          ///< median of the repeats, after a warm-up
  double operations = 0;       ///< of one call; 0: not counted
  std::size_t bytes = 0;       ///< inputs and outputs, and their gradients: the least traffic
  std::size_t peak_bytes = 0;  ///< the most that tensors held during a call, inputs included
  std::string skipped;         ///< why it was not measured; empty: it was
};

/// Measures what the options ask for with the threads of framework/parallel, and prints a line per
/// row to `out`. A case is tried on short sequences first, if those fit into memory by an estimate
/// from the sizes, and skipped where a whole call would take longer than the limit or may not fit.
/// Throws Error for sizes and names that are not allowed, before anything is measured, and if the
/// JSON file cannot be written.
std::vector<BenchRow> run_bench(const BenchOptions& options, std::ostream& out);

}  // namespace vla
