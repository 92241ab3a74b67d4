// The page of `vla report --out`.
#pragma once

#include <filesystem>
#include <vector>

#include "tools/report/insides.hpp"
#include "tools/report/results_file.hpp"

namespace vla {

/// What a report is of.
struct ReportSources {
  std::vector<std::string> directories = {};  ///< as they were given
  std::vector<RunDirectory> runs = {};
  std::vector<ResultsFile> experiments = {};

  /// The runs, and those that the experiments' tables are of as far as they are there.
  std::vector<RunDirectory> all_runs() const;
};

/// Directories of runs and of experiments, in their order. Throws Error for what is neither.
ReportSources read_sources(const std::vector<std::string>& directories);

/// Writes index.html and the data of its figures to a folder; returns the path of the page. Throws
/// Error if gnuplot is missing or a file cannot be read or written.
std::filesystem::path write_report(const ReportSources& sources,
                                   const std::filesystem::path& folder,
                                   const InsidesOptions& insides);

}  // namespace vla
