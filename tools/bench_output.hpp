// The rows of `vla bench` as a table and as JSON.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <vector>

#include "tools/bench.hpp"

namespace vla {

/// What all rows of a run share.
struct BenchSetting {
  BenchShape shape;
  int threads = 0;
  Index sgemm_size = 0;
  double sgemm = 0;  ///< operations per second of a float32 product of that size on these threads
};

/// The lines above the rows: the machine and its rate, the sizes, what the columns are.
void print_bench_head(const BenchSetting& setting, std::ostream& out);
void print_bench_row(const BenchRow& row, const BenchSetting& setting, std::ostream& out);
/// The most memory that the process has held so far, which is more than its tensors.
void print_bench_end(std::ostream& out);

/// The setting, the rows and the process's peak of memory as a JSON object; what was not measured
/// or counted is left out. Throws Error if the file cannot be written.
void write_bench(const std::filesystem::path& path, const std::vector<BenchRow>& rows,
                 const BenchSetting& setting);

}  // namespace vla
