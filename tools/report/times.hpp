// Time, speed and memory against the length of the sequence, as `vla bench` has measured them.
#pragma once

#include "tools/report/page.hpp"

namespace vla {

/// A measurement of a layer, in the faster of its forms.
struct LayerTime {
  std::string layer, pass;
  double length = 0, batch = 0, milliseconds = 0, tokens_per_second = 0, peak_megabytes = 0;
};

/// Of every T-*.json in the directory, by length. Throws Error, naming the file, for one that is
/// not as `vla bench --json` writes it.
std::vector<LayerTime> layer_times(const std::filesystem::path& directory);

/// The least length at which each layer is faster than softmax, as a sentence; of one pass.
std::string crossovers(const std::vector<LayerTime>& times);

/// Three figures for each pass, and none if there are no such files.
void add_time_figures(Page& page, const std::filesystem::path& directory);

}  // namespace vla
