#include "tools/stability_streaming.hpp"

#include <algorithm>
#include <cmath>

#include "tools/relative_error.hpp"
#include "tools/stability_models.hpp"
#include "tools/stopwatch.hpp"

namespace vla {
namespace {

// A memory that reads one block after the other.
class MemoryStream {
 public:
  MemoryStream(const StabilityModel& model, DType dtype, Device device)
      : model_(model), dtype_(dtype), device_(device) {}

  // o (1, T, 1, d), on the CPU.
  Tensor read(const MemoryTokens& features) {
    MemoryInputs inputs = model_.memory(features.to(dtype_, device_), penalty_);
    inputs.memory.initial_state = memory_;
    const DeltaRuleResult result = delta_rule(inputs.memory);
    memory_ = result.final_state;
    return result.output.value().to(Device{});
  }

 private:
  const StabilityModel& model_;
  DType dtype_;
  Device device_;
  PenaltyState penalty_;
  Var memory_;
};

}  // namespace

StreamedErrors measure_streaming(const StabilityOptions& options, Device device, Index block) {
  const StabilityModel& model = stability_model(options.model);
  check(model.memory != nullptr, "stability: ", options.model,
        " is not compared with float64; allowed: ", stability_model_names(true));
  const RandomSequence sequence = sequence_of(options);
  MemoryStream narrow(model, DType::float32, device), wide(model, DType::float64, Device{});
  StreamedErrors result;
  std::vector<StreamedBlock> blocks;
  Stopwatch watch;
  for (Index done = 0; done < options.time; done += block) {
    const Index count = std::min(block, options.time - done);
    const MemoryTokens features = model.features(sequence.read(done, count));
    result.drawing_seconds += watch.lap();
    const Tensor output = narrow.read(features);
    result.seconds += watch.lap();
    const Tensor expected = wide.read(features);
    result.float64_seconds += watch.lap();
    blocks.push_back({done + count, relative_error(output, expected)});
    watch.lap();
  }
  result.largest = blocks.front();
  for (const StreamedBlock& each : blocks)
    if (!std::isnan(result.largest.error) && !(each.error <= result.largest.error))
      result.largest = each;
  for (Index place : log_spaced(static_cast<Index>(blocks.size()), kMostPlaces))
    result.blocks.push_back(blocks[static_cast<std::size_t>(place)]);
  return result;
}

}  // namespace vla
