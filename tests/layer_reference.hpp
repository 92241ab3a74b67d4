// Layers written anew from primitive ops and their parameters, and layers compared with that.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {

/// The output and the gradients of x and of every parameter, in the order of their names.
struct LayerOutcome {
  Tensor output;
  std::map<std::string, Tensor> gradients;
};

/// `run` takes x and the parameters by name, and returns the output.
template <class Run>
LayerOutcome layer_outcome(const ParameterMap& parameters, const Tensor& x, Run run) {
  const Var input = Var::parameter(x.clone());
  Tape tape;
  const Var output = run(input, parameters);
  LayerOutcome outcome{output.value(), {}};
  const Gradients gradients =
      tape.backward(output, Rng(8).normal(output.shape(), DType::float64).to(x.dtype()));
  if (const Tensor* gradient = gradients.find(input)) outcome.gradients["x"] = *gradient;
  for (const auto& [name, parameter] : parameters)
    if (const Tensor* gradient = gradients.find(parameter)) outcome.gradients[name] = *gradient;
  return outcome;
}

/// The layer has to give every gradient that the reference gives; one that only the layer gives has
/// to be zero, as at T = 0, where the reference records nothing.
inline void check_layers_close(const LayerOutcome& actual, const LayerOutcome& reference,
                               double tolerance = 1e-9) {
  check_close(actual.output, reference.output, tolerance);
  for (const auto& [name, expected] : reference.gradients)
    BOOST_TEST(actual.gradients.contains(name), "no gradient of " << name);
  const auto length = [](const Var& x) { return norm(x).value().item(); };
  for (const auto& [name, gradient] : actual.gradients) {
    const auto found = reference.gradients.find(name);
    const Var expected(found != reference.gradients.end() ? found->second : zeros_like(gradient));
    const double difference = length(Var(gradient) - expected);
    // A gradient that is zero but for rounding has no relative error.
    BOOST_TEST(difference <= tolerance * std::max(length(expected), 1e-3),
               "gradient of " << name << " differs by " << difference);
  }
}

inline Var affine(const ParameterMap& parameters, const std::string& name, const Var& x) {
  return matmul(x, parameters.at(name + ".weight"), {.transpose_b = true}) +
         parameters.at(name + ".bias");
}

/// An affine map split into heads: (B, T, width) -> (B, T, H, width / H).
inline Var head_map(const ParameterMap& parameters, const std::string& name, const Var& x,
                    Index heads) {
  const Var y = affine(parameters, name, x);
  return reshape(y, {y.size(0), y.size(1), heads, y.size(2) / heads});
}

inline Var layer_norm(const ParameterMap& parameters, const Var& x) {
  const Var centred = x - mean(x, {-1}, {.keep = true});
  const Var variance = mean(square(centred), {-1}, {.keep = true});
  return centred / sqrt(variance + 1e-5) * parameters.at("norm.weight") +
         parameters.at("norm.bias");
}

/// Heads (B, T, H, d) through the layer norm and the affine map of the output.
inline Var layer_output(const ParameterMap& parameters, const Var& heads) {
  const Var merged = reshape(heads, {heads.size(0), heads.size(1), heads.size(2) * heads.size(3)});
  return affine(parameters, "output", layer_norm(parameters, merged));
}

/// z_t . q_t for z_t = sum_{s<=t} k_s, both (B, T, H, d), T >= 1: (B, T, H, 1).
inline Var linear_weights(const Var& q, const Var& k) {
  std::vector<Var> rows;
  Var z = slice(k, 1, 0, 1) * 0.0;
  for (Index t = 0; t < k.size(1); ++t) {
    z = z + slice(k, 1, t, t + 1);
    rows.push_back(sum(z * slice(q, 1, t, t + 1), {-1}, {.keep = true}));
  }
  return concat(rows, 1);
}

/// x raised to a floor, which has no gradient.
inline Var raised(const Var& x, double floor) {
  Tensor above(x.shape(), DType::uint8);
  for (Index i = 0; i < x.value().elements(); ++i)
    above.mutable_data<std::uint8_t>()[i] = x.value().data<double>()[i] > floor;
  return where(above, x, Var(Tensor::full(x.shape(), floor, DType::float64)));
}

/// `rank` directions (B, T, H, r, d) by blocks of H d rows of a map of the keys (B, T, H, d).
inline Var direction_blocks(const Var& weight, const Var& key, Index rank) {
  const Index batch = key.size(0), time = key.size(1), heads = key.size(2), d = key.size(3);
  if (rank == 0) return Var(Tensor({batch, time, heads, 0, d}, key.dtype()));
  const Var merged = reshape(key, {batch, time, heads * d});
  std::vector<Var> parts;
  for (Index m = 0; m < rank; ++m) {
    const Var block = slice(weight, 0, m * heads * d, (m + 1) * heads * d);
    parts.push_back(
        reshape(matmul(merged, block, {.transpose_b = true}), {batch, time, heads, 1, d}));
  }
  return concat(parts, 3);
}

/// Random x (B, T, width) whose second token is zero, and with it what is linear in x.
inline Tensor input_with_zero_token(Index batch, Index time, Index width) {
  Tensor x = Rng(9).normal({batch, time, width}, DType::float64);
  if (time > 1)
    for (Index i = 0; i < width; ++i)
      x.mutable_values<double>()[static_cast<std::size_t>(width + i)] = 0;
  return x;
}

/// That the layer, with these parameters, gives what the formulas `reference(x, parameters)` give:
/// output and all gradients.
template <class Layer, class Reference>
void check_layer_is(const ParameterMap& parameters, const Tensor& x, Layer& layer,
                    const Reference& reference) {
  check_layers_close(
      layer_outcome(parameters, x, [&](const Var& x, const auto&) { return layer(x); }),
      layer_outcome(parameters, x, reference));
}

}  // namespace vla
