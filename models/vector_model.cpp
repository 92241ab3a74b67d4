#include "models/vector_model.hpp"

namespace vla {
namespace {

LinearOptions linear_options(const VectorModelConfig& config) {
  return {.deviation = config.deviation, .dtype = config.dtype};
}

}  // namespace

// Numbers of size 1 should come in as such: the first map starts by its fan-in.
VectorModel::VectorModel(const VectorModelConfig& config, const MixerFactory& make_mixer, Rng& rng)
    : input_(config.inputs, config.width, rng, {.dtype = config.dtype}),
      norm_(config.width, 1e-5, config.dtype),
      output_(config.width, config.outputs, rng, linear_options(config)) {
  check(config.layers >= 0, "model: ", config.layers, " layers; 0 or more are allowed");
  for (Index i = 0; i < config.layers; ++i)
    blocks_.emplace_back(config.width, config.hidden, make_mixer, rng, linear_options(config));
}

Var VectorModel::operator()(const Var& x) {
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
