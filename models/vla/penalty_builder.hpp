// What VLA penalises: the part of the layer that makes u, its weights, gamma and lambda0.
#pragma once

#include <optional>

#include "framework/nn/layers.hpp"
#include "models/vla/inverse_penalty.hpp"

namespace vla {

/// The map W_u of `rank` directions per head from all heads' keys together, without bias.
Linear direction_map(Index heads, Index key_width, Index rank, Rng& rng, LinearOptions options);
/// W_u k, split: keys (B, T, H, d) -> (B, T, H, r, d). Block m of W_u's rows gives direction m.
Var directions_of(const Linear& map, const Var& key);
/// unit(W_u k) / sqrt(d) of the same shape.
Var unit_directions_of(const Linear& map, const Var& key, double floor);

/// What the directions u of the penalty are.
enum class PenaltyKind {
  key,      // u = the unit key, weighted by beta: weighted recursive least squares
  learned,  // u_m = unit(W_u k) / sqrt(d), m = 1..rank
};

/// Settings of PenaltyBuilder.
struct PenaltyBuilderOptions {
  Index width;  // of the layer's input x
  Index heads;
  Index key_width;  // d, per head
  PenaltyKind kind = PenaltyKind::key;
  Index rank = 1;  // directions per token with `learned`; 0: no penalty, A stays I / lambda0
  bool forget = false;
  double forget_floor = 0.5;  // gamma = this + (1 - this) sigmoid(affine(x))
  double unit_floor = 1e-6;
  double lambda_floor = 0.01;  // lambda0 = softplus(parameter) + this
  double lambda_start = 0.1;   // lambda0 at the start
  bool learn_lambda0 = true;   // otherwise it gets no gradient
  LinearOptions linear = {};
};

/// Makes the Penalty of a sequence. Parameters: lambda0 (heads), before softplus; with `learned`
/// directions (rank heads d, heads d) without bias; with `forget` the affine map of gamma, whose
/// bias starts at 6, so that almost nothing is forgotten at first.
struct PenaltyBuilder {
  PenaltyBuilderOptions options;
  Var lambda0;
  std::optional<Linear> directions;
  std::optional<Linear> forget;

  /// Throws Error for settings that are not allowed.
  PenaltyBuilder(const PenaltyBuilderOptions& options, Rng& rng);
  /// x (B, T, width), raw keys (before the feature map) and unit keys (B, T, H, d), beta (B, T, H).
  Penalty operator()(const Var& x, const Var& raw_key, const Var& unit_key, const Var& beta) const;
  void visit(PartVisitor& parts);
};

}  // namespace vla
