// Time and memory against the length of the sequence.
#include <fmt/format.h>

#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

std::vector<NamedWords> benches(bool quick) {
  std::vector<NamedWords> result;
  const auto add = [&](Index time, Index batch, const char* sizes) {
    result.push_back({fmt::format("T-{}", time),
                      fmt::format("--time {} --batch {} --operators none {}", time, batch, sizes)});
  };
  if (quick) {
    for (const Index time : {64, 128, 256})
      add(time, 1, "--width 32 --heads 2 --repeats 3 --limit 2");
    return result;
  }
  // About as many tokens in each; what would take too long or too much memory skips itself.
  for (Index time = 256, batch = 64; time <= 65536; time *= 2, batch = batch > 1 ? batch / 2 : 1)
    add(time, batch, "--width 256 --heads 4");
  return result;
}

}  // namespace

Experiment scaling() {
  return {"scaling", "time and memory of a layer against the length of the sequence", {}, benches};
}

}  // namespace vla
