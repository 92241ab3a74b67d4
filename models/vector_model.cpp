#include "models/vector_model.hpp"

namespace vla {
// Numbers of size 1 should come in as such: the first map starts by its fan-in.
VectorModel::VectorModel(const VectorModelConfig& config, const MixerFactory& make_mixer, Rng& rng)
    : input_(config.inputs, config.body.width, rng, {.dtype = config.body.dtype}),
      norm_(config.body.width, 1e-5, config.body.dtype),
      output_(config.body.width, config.outputs, rng, linear_options(config.body)),
      blocks_(make_blocks(config.body, make_mixer, rng)) {}

Var VectorModel::operator()(const Var& x, CallSite site) {
  const CalledFrom call(site);
  Var y = input_(x);
  for (Block& block : blocks_) y = block(y, {});  // no tokens
  return output_(norm_(y));
}

void VectorModel::visit(PartVisitor& parts) {
  parts("input", input_);
  parts("blocks", blocks_);
  parts("norm", norm_);
  parts("output", output_);
}

}  // namespace vla
