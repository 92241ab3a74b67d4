// How long a training step takes, and where the time goes.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "tools/settings.hpp"

namespace vla {

struct BenchTrainOptions {
  TrainOptions train;
  Index measured = 100;  ///< steps, in groups of which the median counts
  std::filesystem::path json = {};
};

/// What an op took in a step, on CUDA.
struct OpTime {
  std::string op;
  double launches = 0, seconds = 0;
};

struct BenchTrainResult {
  double step_seconds = 0, tokens_per_second = 0;
  double launches = 0;  ///< kernels and library calls begun in a step; with --graph, few
  std::size_t peak_bytes = 0;
  std::vector<OpTime> ops;  ///< of a step that is not captured; only on CUDA
};

/// Trains for some steps, batches and all, and measures the following ones; then, on CUDA, times
/// each launch of a few more. Prints to `out`.
BenchTrainResult run_bench_train(const BenchTrainOptions& options, std::ostream& out);

}  // namespace vla
