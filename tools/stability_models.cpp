#include "tools/stability_models.hpp"

#include <array>

#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "models/models.hpp"
#include "models/vla/penalty_builder.hpp"

namespace vla {
namespace {

MemoryTokens vla_features(const MemoryTokens& x) {
  const VlaOptions layer;
  return {.query = unit(elu_plus_one(x.query), layer.unit_floor),
          .key = unit(elu_plus_one(x.key), layer.unit_floor),
          .value = x.value,
          .rate = sigmoid(x.rate),
          .lambda0 = Var(Tensor::full({1}, layer.lambda_start, x.rate.dtype()))};
}

MemoryInputs vla_memory(const MemoryTokens& x, PenaltyState& state) {
  const Penalty penalty{.directions = x.key, .weights = x.rate, .lambda0 = x.lambda0};
  const InversePenaltyResult solved = inverse_penalty(x.key, penalty, {.initial = state});
  state = solved.state;
  return {.memory = {.query = x.query,
                     .key = x.key,
                     .coefficient = scale_heads(solved.output, x.rate),
                     .value = x.value},
          .penalty = penalty};
}

MemoryTokens delta_net_features(const MemoryTokens& x) {
  const DeltaNetOptions layer;
  return {.query = unit(x.query, layer.unit_floor),
          .key = unit(x.key, layer.unit_floor),
          .value = x.value,
          .rate = sigmoid(x.rate)};
}

MemoryInputs delta_net_memory(const MemoryTokens& x, PenaltyState&) {
  return {.memory = {.query = x.query,
                     .key = x.key,
                     .coefficient = scale_heads(x.key, x.rate),
                     .value = x.value}};
}

MemoryTokens linear_features(const MemoryTokens& x) {
  return {elu_plus_one(x.query), elu_plus_one(x.key), x.value, x.rate};
}

MemoryInputs linear_memory(const MemoryTokens& x, PenaltyState&) {
  return {.memory = {.query = x.query, .coefficient = x.key, .value = x.value}};
}

template <auto features, auto memory>
Diagnostics diagnose_memory(const MemoryTokens& projections, Rng&,
                            const DiagnosticsOptions& options) {
  PenaltyState start;
  return diagnose(memory(features(projections), start), options);
}

MemoryTokens v1_features(const MemoryTokens& x) { return x; }

Diagnostics diagnose_v1(const MemoryTokens& x, Rng& weights, const DiagnosticsOptions& options) {
  VlaV1Options layer;
  layer.attention.width = x.key.size(-1);
  layer.attention.dtype = x.key.dtype();
  layer.attention = layer.attention.resolved();
  const VlaV1PenaltyBuilder penalty(layer, weights);
  return diagnose(StabilizedInputs{.query = x.query,
                                   .key = x.key,
                                   .value = x.value,
                                   .directions = penalty.directions(x.key)},
                  layer.recurrence, {}, options);
}

MemoryTokens v3_features(const MemoryTokens& x) {
  return {elu_plus_one(x.query), unit(elu_plus_one(x.key), VlaV3Options{}.unit_floor), x.value,
          x.rate};
}

Diagnostics diagnose_v3(const MemoryTokens& x, Rng& weights, const DiagnosticsOptions& options) {
  const VlaV3Options layer;
  const Linear map =
      direction_map(1, x.key.size(-1), layer.rank, weights, {.dtype = x.key.dtype()});
  const MemoryTokens read = v3_features(x);
  return diagnose(StabilizedInputs{.query = read.query,
                                   .key = read.key,
                                   .value = read.value,
                                   .directions = unit_directions_of(map, x.key, layer.unit_floor)},
                  recurrence_options(layer), {}, options);
}

constexpr std::array kModels{
    StabilityModel{"vla", vla_features, vla_memory, diagnose_memory<vla_features, vla_memory>},
    StabilityModel{"vla-v1", v1_features, nullptr, diagnose_v1},
    StabilityModel{"vla-v3", v3_features, nullptr, diagnose_v3},
    StabilityModel{"deltanet", delta_net_features, delta_net_memory,
                   diagnose_memory<delta_net_features, delta_net_memory>},
    StabilityModel{"linear", linear_features, linear_memory,
                   diagnose_memory<linear_features, linear_memory>},
};

}  // namespace

std::string stability_model_names(bool streamed) {
  std::string names;
  for (const StabilityModel& model : kModels)
    if (!streamed || model.memory) names += (names.empty() ? "" : ", ") + std::string(model.name);
  return names;
}

const StabilityModel& stability_model(std::string_view name) {
  for (const StabilityModel& model : kModels)
    if (model.name == name) return model;
  check(name != "softmax", "stability: softmax keeps its tokens and has no state; allowed: ",
        stability_model_names(false));
  fail("stability: unknown model '", name, "'; allowed: ", stability_model_names(false));
}

}  // namespace vla
