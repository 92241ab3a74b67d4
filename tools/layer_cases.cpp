// Gradient cases of layers and mixers.

#include <functional>

#include "framework/nn/layers.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/random.hpp"
#include "models/models.hpp"
#include "models/vla/primitives.hpp"
#include "tools/case_table.hpp"

namespace vla {
namespace {

constexpr DType kDouble = DType::float64;

// A row whose inputs are x and every parameter of the module that `make` returns: gradcheck's
// values are written into the parameters, and the variables it tracks are put in their place.
template <class Make>
GradientCase layer_case(std::string name, Make make, const Tensor& x) {
  Rng rng(7);
  auto layer = std::make_shared<decltype(make(rng))>(make(rng));
  std::vector<Tensor> inputs{x};
  PartVisitor collect(
      [&](const std::string&, Var& parameter) { inputs.push_back(parameter.value().clone()); });
  (*layer).visit(collect);
  const auto function = [layer](const std::vector<Var>& inputs) {
    std::size_t next = 1;
    PartVisitor replace([&](const std::string&, Var& parameter) { parameter = inputs[next++]; });
    (*layer).visit(replace);
    return (*layer)(inputs[0]);
  };
  return {std::move(name), function, inputs};
}

// A mixer as a module that can be copied about.
struct AnyMixer {
  std::shared_ptr<Mixer> mixer;
  Var operator()(const Var& x) { return (*mixer)(x); }
  void visit(PartVisitor& parts) { mixer->visit(parts); }
};

GradientCase mixer_case(std::string name, std::string_view kind, MixerConfig config, Index time) {
  config.attention = {.width = 6,
                      .heads = 2,
                      .key_width = config.attention.key_width,
                      .value_width = config.attention.value_width,
                      .convolution = config.attention.convolution,
                      .dtype = kDouble};
  const MixerFactory factory = mixer_factory(kind, config);
  Rng rng(11);
  return layer_case(
      std::move(name), [&](Rng& r) { return AnyMixer{factory(r)}; },
      rng.normal({2, time, 6}, kDouble));
}

// The rules for A hold for symmetric A: each row makes one, X X^T + I, from a matrix X.
void add_primitive_cases(std::vector<GradientCase>& rows) {
  Rng rng(19);
  const Tensor x = rng.normal({4, 4}, kDouble), vector = rng.normal({4}, kDouble);
  Tensor identity = Tensor::zeros({4, 4}, kDouble);
  for (std::size_t i = 0; i < 4; ++i) identity.mutable_values<double>()[i * 5] = 1;
  const auto inverse = [identity](const Var& x) {
    return matmul(x, x, {.transpose_b = true}) + Var(identity.to(x.device()));
  };
  rows.push_back({"inner_product_score",
                  [](const auto& v) { return inner_product_score(v[0], v[1]); },
                  {x, vector}});
  rows.push_back({"sherman_morrison",
                  [=](const auto& v) { return sherman_morrison(inverse(v[0]), v[1]); },
                  {x, vector}});
  rows.push_back({"sherman_morrison with a zero direction",
                  [=](const auto& v) { return sherman_morrison(inverse(v[0]), v[1]); },
                  {x, Tensor::zeros({4}, kDouble)}});
  rows.push_back({"sherman_morrison_updates",
                  [=](const auto& v) { return sherman_morrison_updates(inverse(v[0]), v[1]); },
                  {x, rng.normal({3, 4}, kDouble)}});
  rows.push_back({"recover_alpha",
                  [=](const auto& v) { return recover_alpha(inverse(v[0]), v[1]); },
                  {x, vector}});
  for (const auto& [scales, size] :
       {std::pair{AlphaScales::all, 1}, {AlphaScales::rows, 3}, {AlphaScales::columns, 4}})
    rows.push_back(
        {"memory_update, alpha of " + std::to_string(size),
         [scales = scales](const auto& v) { return memory_update(v[0], v[1], v[2], v[3], scales); },
         {rng.normal({3, 4}, kDouble), rng.normal({size}, kDouble), rng.normal({3}, kDouble),
          vector}});
}

}  // namespace

std::vector<GradientCase> layer_cases() {
  std::vector<GradientCase> rows;
  Rng rng(5);
  const Tensor x = rng.normal({2, 3, 4}, kDouble);
  const LinearOptions linear{.dtype = kDouble};
  rows.push_back(layer_case(
      "Linear", [&](Rng& r) { return Linear(4, 5, r, linear); }, x));
  rows.push_back(layer_case(
      "LayerNorm", [&](Rng&) { return LayerNorm(4, 1e-5, kDouble); }, x));
  rows.push_back(layer_case(
      "RmsNorm", [&](Rng&) { return RmsNorm(4, 1e-5, kDouble); }, x));
  rows.push_back(layer_case(
      "ShortConvolution", [&](Rng& r) { return ShortConvolution(4, 3, r, kDouble); }, x));
  rows.push_back(layer_case(
      "Mlp", [&](Rng& r) { return Mlp(4, 6, r, linear); }, x));

  add_recurrent_cases(rows);
  add_primitive_cases(rows);

  rows.push_back(mixer_case("Vla", "vla", {}, 5));
  rows.push_back(
      mixer_case("Vla without convolution", "vla", {.attention = {.convolution = 0}}, 4));
  rows.push_back(mixer_case("Vla learned rank 2", "vla", {.penalty = "learned", .rank = 2}, 4));
  for (const char* form : {"step", "chunk"})
    rows.push_back(mixer_case(std::string("Vla forgetting, restored, widths 3 and 5, ") + form,
                              "vla",
                              {.attention = {.key_width = 3, .value_width = 5},
                               .forget = true,
                               .restore_period = 2,
                               .form = form},
                              5));
  for (const ModelKind& kind : model_kinds())
    if (kind.name != "vla")
      rows.push_back(mixer_case("mixer " + std::string(kind.name), kind.name, {}, 5));
  rows.push_back(layer_case(
      "GatedDeltaNet",
      [&](Rng& r) {
        return AnyMixer{std::make_shared<GatedDeltaNet>(
            GatedDeltaNetOptions{.attention = {.width = 4, .heads = 2, .dtype = kDouble}}, r)};
      },
      x));
  const auto row = [&](std::string name, std::string_view kind, MixerConfig config) {
    rows.push_back(mixer_case(std::move(name), kind, config, 5));
  };
  row("vla-v1 rank 2", "vla-v1", {.rank = 2});
  row("vla-v1 rank 0", "vla-v1", {.rank = 0});
  row("vla-v3 nudged", "vla-v3", {.nudge_period = 2, .nudge = 0.1});
  const AttentionOptions attention{.width = 4, .heads = 2, .convolution = 0, .dtype = kDouble};
  for (const auto& [name, kind] :
       {std::pair{"separate", DirectionKind::separate}, {"kernel", DirectionKind::kernel}})
    rows.push_back(layer_case(
        std::string("vla-v1 rank 2, ") + name,
        [&, kind = kind](Rng& r) {
          return AnyMixer{std::make_shared<VlaV1>(
              VlaV1Options{.attention = attention, .directions = kind, .rank = 2}, r)};
        },
        x));
  rows.push_back(layer_case(
      "vla-v3 below the floor of the denominator",
      [&](Rng& r) {
        return AnyMixer{std::make_shared<VlaV3>(
            VlaV3Options{.attention = attention, .denominator_floor = 5}, r)};
      },
      x));
  return rows;
}

}  // namespace vla
