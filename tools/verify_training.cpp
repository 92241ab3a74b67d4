// Golden cases of training runs.

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "tools/golden_case.hpp"
#include "tools/relative_error.hpp"

namespace vla {
namespace {

// The constants of the mixers are not in the files: tests/golden/README.md lists them.
MixerFactory reference_mixer(const GoldenCase& c, const AttentionOptions& attention) {
  if (c.is("train3_linear"))
    return [=](Rng& rng) {
      return std::make_unique<LinearTransformer>(
          LinearTransformerOptions{
              .attention = attention, .guard = DenominatorGuard::floor, .guard_value = 1e-6},
          rng);
    };
  if (c.is("train3_deltanet"))
    return [=](Rng& rng) {
      return std::make_unique<GatedDeltaNet>(
          GatedDeltaNetOptions{.attention = attention, .unit_floor = 1e-12}, rng);
    };
  if (c.is("train3_softmax"))
    return [=](Rng& rng) { return std::make_unique<SoftmaxTransformer>(attention, rng); };
  if (c.is("train3_vla"))
    return [=](Rng& rng) {
      return std::make_unique<VlaV3>(VlaV3Options{.attention = attention,
                                                  .lambda0 = 0.1,
                                                  .nudge_period = 20,
                                                  .nudge = 1e-3,
                                                  .denominator_floor = 1e-4,
                                                  .unit_floor = 1e-12},
                                     rng);
    };
  return nullptr;
}

// Batch `step` of an array of all steps.
Tensor of_step(const GoldenCase& c, const std::string& array, Index step) {
  const Tensor& all = c.file().at(array);
  check(all.rank() == 3 && all.dtype() == DType::int64 && step < all.size(0), c.name(), ": ", array,
        " is ", all.dtype(), all.shape(), "; int64 (steps, B, T) is needed");
  const Index count = all.size(1) * all.size(2);
  return Tensor::from<std::int64_t>(
      {all.size(1), all.size(2)},
      all.values<std::int64_t>().subspan(static_cast<std::size_t>(step * count),
                                         static_cast<std::size_t>(count)),
      c.device());
}

// The loss does not depend on softmax's key bias, so its gradient is rounding noise, which Adam
// blows up to steps of full size: in float32 it is left as the reference has it.
void exempt_softmax_key_bias(const GoldenCase& c, ParameterMap& parameters) {
  if (!c.is("train3_softmax") || c.dtype() == DType::float64) return;
  for (auto& [name, variable] : parameters) {
    const std::string ending = "mixer.key.bias";
    if (!name.ends_with(ending)) continue;
    const Tensor stacked =
        c.array("final." + name.substr(0, name.size() - ending.size()) + "attn.qkv.bias");
    const Index rows = variable.size(0);
    variable.mutable_value().copy_from(slice(Var(stacked), 0, rows, 2 * rows).value());
  }
}

}  // namespace

void verify_training(GoldenCase& c) {
  const AttentionOptions attention{.width = c.integer("config.d_model"),
                                   .heads = c.integer("config.n_heads"),
                                   .convolution = 0,
                                   .dtype = c.dtype()};
  const MixerFactory factory = reference_mixer(c, attention);
  if (!factory) return c.fail_as_unknown();
  Rng rng(0);
  LanguageModel model({.body = {.vocabulary = c.integer("config.vocab_size"),
                                .width = attention.width,
                                .layers = c.integer("config.n_layers"),
                                .hidden = c.integer("config.d_ff"),
                                .positions = c.integer("config.max_seq_len"),
                                .dtype = c.dtype()}},
                      factory, rng);
  ParameterMap parameters_by_name = parameter_map(model);
  load(c, "init.", parameters_by_name);
  const std::vector<double> betas = c.numbers("optimizer.betas");
  check(betas.size() == 2, c.name(), ": optimizer.betas has ", betas.size(), " numbers, not 2");
  AdamW adam(parameters(model), {.rate = c.number("optimizer.lr"),
                                 .beta1 = betas[0],
                                 .beta2 = betas[1],
                                 .epsilon = c.number("optimizer.eps"),
                                 .weight_decay = c.number("optimizer.weight_decay")});
  const std::vector<double> losses = c.numbers("losses"), norms = c.numbers("grad_norms");
  check(losses.size() == norms.size(), c.name(), ": losses and grad_norms differ in number");
  std::vector<double> our_losses, our_norms;
  for (std::size_t step = 0; step < losses.size(); ++step) {
    Tape tape;
    const Var logits = model(of_step(c, "tokens", static_cast<Index>(step)));
    const Var loss = cross_entropy(logits, of_step(c, "targets", static_cast<Index>(step)),
                                   {.ignore_index = c.integer_or("ignore_index", -100)});
    const Gradients gradients = tape.backward(loss);
    if (step == 0) {
      c.compare("logits0", logits.value());
      compare_all(c, "grad0.", parameters_by_name, [&](const Var& p) { return gradients[p]; });
    }
    our_losses.push_back(loss.value().item());
    our_norms.push_back(adam.step(gradients, {.clip = c.number("optimizer.grad_clip")}).item());
  }
  const auto compare_numbers = [&](const std::string& name, const std::vector<double>& ours,
                                   const std::vector<double>& theirs) {
    const Shape shape{static_cast<Index>(ours.size())};
    c.report(name, relative_error(Tensor::from<double>(shape, ours),
                                  Tensor::from<double>(shape, theirs)));
  };
  compare_numbers("losses", our_losses, losses);
  compare_numbers("grad_norms", our_norms, norms);
  exempt_softmax_key_bias(c, parameters_by_name);
  compare_all(c, "final.", parameters_by_name, [](const Var& p) { return p.value(); });
}

}  // namespace vla
