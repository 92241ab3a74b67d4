#include "tools/look.hpp"

#include <numeric>

namespace vla {

Diagnostics Look::diagnose(Index layer, const DiagnosticsOptions& diagnostics) {
  check_layer(options, layer);
  const PauseRecording only_looked_at;
  Var x = model.body().embed(tokens);
  std::vector<Block>& blocks = model.body().blocks();
  for (Index i = 0; i < layer; ++i) x = blocks[static_cast<std::size_t>(i)](x, tokens);
  Block& block = blocks[static_cast<std::size_t>(layer)];
  return block.mixer->diagnose(block.norm1(x), tokens, diagnostics);
}

Look look_into(const RunDirectory& run, std::optional<std::uint64_t> seed) {
  const TrainOptions options = run.options();
  Look look{.options = options,
            .seed = seed.value_or(options.seed),
            .model = trained_model(options, run.checkpoint(), Device{}),
            .tokens = {}};
  const std::unique_ptr<Task> task = make_task(options);
  check_same_data(*task, run.checkpoint());
  Rng rng = run_rng(look.seed, RunStream::final_evaluation);
  look.tokens = task->sample_held_out(1, rng).tokens;
  return look;
}

void check_layer(const TrainOptions& options, Index layer) {
  check(layer >= 0 && layer < options.layers, "--layer ", layer,
        " is not allowed; the model has layers 0 to ", options.layers - 1);
}

std::vector<Index> asked_heads(const TrainOptions& options, Index head) {
  const Index heads = options.mixer.attention.heads;
  check(head >= -1 && head < heads, "--head ", head, " is not allowed; the model has heads 0 to ",
        heads - 1, ", and -1 stands for all");
  if (head >= 0) return {head};
  std::vector<Index> all(static_cast<std::size_t>(heads));
  std::iota(all.begin(), all.end(), Index{0});
  return all;
}

}  // namespace vla
