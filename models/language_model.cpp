#include "models/language_model.hpp"

#include "framework/distributed/communicator.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"

namespace vla {

Block::Block(Index width, Index hidden, const MixerFactory& make_mixer, Rng& rng,
             LinearOptions options)
    : norm1(width, 1e-5, options.dtype),
      mixer(make_mixer(rng)),
      norm2(width, 1e-5, options.dtype),
      mlp(width, hidden, rng, options) {}

Var Block::operator()(const Var& x, const Tensor& tokens) {
  const Var y = x + (*mixer)(norm1(x), tokens);
  return y + mlp(norm2(y));
}

Var Block::advance(const Var& x, const Carry& carry) {
  const Var y = x + mixer->advance(norm1(x), carry);
  return y + mlp(norm2(y));
}

void Block::visit(PartVisitor& parts) {
  parts("norm1", norm1);
  parts("mixer", mixer);
  parts("norm2", norm2);
  parts("mlp", mlp);
}

LinearOptions linear_options(const SequenceModelConfig& config) {
  return {.deviation = config.deviation, .dtype = config.dtype};
}

std::vector<Block> make_blocks(const SequenceModelConfig& config, const MixerFactory& make_mixer,
                               Rng& rng) {
  check(config.layers >= 0, "model: ", config.layers, " layers; 0 or more are allowed");
  std::vector<Block> blocks;
  for (Index i = 0; i < config.layers; ++i)
    blocks.emplace_back(config.width, config.hidden, make_mixer, rng, linear_options(config));
  return blocks;
}

SequenceModel::SequenceModel(const SequenceModelConfig& config, const MixerFactory& make_mixer,
                             Rng& rng)
    : config_(config),
      tokens_(config.vocabulary, config.width, rng, config.deviation, config.dtype),
      norm_(config.width, 1e-5, config.dtype) {
  check(config.positions >= 0, "model: positions up to ", config.positions,
        "; 0 (none) or more are allowed");
  if (config.positions > 0)
    positions_.emplace(config.positions, config.width, rng, config.deviation, config.dtype);
  blocks_ = make_blocks(config, make_mixer, rng);
}

Var SequenceModel::embed(const Tensor& tokens, Index before) const {
  check(tokens.rank() == 2, "model: tokens have shape ", tokens.shape(), "; (B, T) is needed");
  const auto activations = [&](const Var& rows) { return cast(rows, config_.activations); };
  const Var x = activations(tokens_(tokens));
  if (!positions_) return x;
  const Index time = tokens.size(1);
  check(before + time <= config_.positions, "model: ", before + time, " tokens, but positions for ",
        config_.positions);
  const Tensor places = Tensor::range(before, before + time, tokens.device());
  return x + activations((*positions_)(places));
}

Var SequenceModel::operator()(const Tensor& tokens, CallSite site) {
  const CalledFrom call(site);
  Var x = embed(tokens);
  for (Block& block : blocks_) x = block(x, tokens);
  return norm_(x);
}

Var SequenceModel::stream(const Tensor& tokens, StreamState& state) {
  check(tokens.rank() == 2, "model: tokens have shape ", tokens.shape(), "; (B, T) is needed");
  return stream_block(state, tokens.size(1),
                      [&](const Carry& carry) { return advance(tokens, carry); });
}

Var SequenceModel::split(const Tensor& tokens, const Communicator& ranks) {
  check(tokens.rank() == 2, "model: tokens have shape ", tokens.shape(), "; (B, T) is needed");
  Tensor before = Tensor::scalar(static_cast<double>(tokens.size(1)), DType::float64);
  ranks.exclusive_sum(before);
  return advance(tokens, Carry(ranks, static_cast<Index>(before.item())));
}

Var SequenceModel::advance(const Tensor& tokens, const Carry& carry) {
  Var x = embed(tokens, carry.tokens());
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    x = blocks_[i].advance(x, carry.within(concatenate("blocks.", i)));
  return norm_(x);
}

void SequenceModel::visit(PartVisitor& parts) {
  parts("tokens", tokens_);
  parts("positions", positions_);
  parts("blocks", blocks_);
  parts("norm", norm_);
}

LanguageModel::LanguageModel(const LanguageModelConfig& config, const MixerFactory& make_mixer,
                             Rng& rng)
    : body_(config.body, make_mixer, rng) {
  if (!config.tied_head)
    head_.emplace(config.body.width, config.body.vocabulary, rng, linear_options(config.body));
}

Var LanguageModel::operator()(const Tensor& tokens, CallSite site) {
  const CalledFrom call(site);
  return logits(body_(tokens));
}

Var LanguageModel::stream(const Tensor& tokens, StreamState& state) {
  return logits(body_.stream(tokens, state));
}

Var LanguageModel::split(const Tensor& tokens, const Communicator& ranks) {
  return logits(body_.split(tokens, ranks));
}

Var LanguageModel::logits(const Var& x) const {
  return head_ ? (*head_)(x) : linear(x, body_.token_table());
}

void LanguageModel::visit(PartVisitor& parts) {
  body_.visit(parts);
  parts("head", head_);
}

Classifier::Classifier(const ClassifierConfig& config, const MixerFactory& make_mixer, Rng& rng)
    : body_(config.body, make_mixer, rng),
      head_(config.body.width, config.classes, rng, linear_options(config.body)) {}

Var Classifier::operator()(const Tensor& tokens, CallSite site) {
  const CalledFrom call(site);
  return head_(mean(body_(tokens), {1}));
}

void Classifier::visit(PartVisitor& parts) {
  body_.visit(parts);
  parts("head", head_);
}

}  // namespace vla
