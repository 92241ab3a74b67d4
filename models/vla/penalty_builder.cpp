#include "models/vla/penalty_builder.hpp"

#include <algorithm>
#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/rows.hpp"
#include "framework/ops/shaping.hpp"
#include "models/attention.hpp"

namespace vla {

Linear direction_map(Index heads, Index key_width, Index rank, Rng& rng, LinearOptions options) {
  check(rank >= 0, "VLA: rank ", rank, " is negative; 0 or more is allowed");
  options.bias = false;
  return Linear(heads * key_width, rank * heads * key_width, rng, options);
}

Var directions_of(const Linear& map, const Var& key) {
  const Index batch = key.size(0), time = key.size(1), heads = key.size(2), d = key.size(3);
  const Index rank = map.weight.size(0) / std::max<Index>(heads * d, 1);
  const Var u = map(merge_heads(key));
  if (rank == 1) return reshape(u, {batch, time, heads, 1, d});
  return permute(reshape(u, {batch, time, rank, heads, d}), {0, 1, 3, 2, 4});
}

Var unit_directions_of(const Linear& map, const Var& key, double floor) {
  const double shrink = 1 / std::sqrt(static_cast<double>(key.size(3)));
  return scale(unit(directions_of(map, key), floor), shrink);
}

PenaltyBuilder::PenaltyBuilder(const PenaltyBuilderOptions& o, Rng& rng)
    : options(o),
      lambda0(constant_parameter({o.heads}, std::log(std::expm1(o.lambda_start - o.lambda_floor)),
                                 o.linear.dtype)) {
  check(o.lambda_start > o.lambda_floor, "VLA: lambda0 starts at ", o.lambda_start,
        ", which must be above its floor ", o.lambda_floor);
  check(o.forget_floor >= 0 && o.forget_floor < 1, "VLA: least forgetting factor ", o.forget_floor,
        " is not allowed; 0 or more and below 1");
  if (o.kind == PenaltyKind::learned)
    directions.emplace(direction_map(o.heads, o.key_width, o.rank, rng, o.linear));
  if (o.forget) {
    forget.emplace(o.width, o.heads, rng, o.linear);
    forget->bias.mutable_value().fill(6);
  }
}

Penalty PenaltyBuilder::operator()(const Var& x, const Var& raw_key, const Var& unit_key,
                                   const Var& beta) const {
  Penalty penalty;
  const Var raw = options.learn_lambda0 ? lambda0 : Var(lambda0.value());
  penalty.lambda0 = softplus(raw) + options.lambda_floor;
  // In float32 where activations are bfloat16: next to 1 that has no numbers but 1.
  if (forget) {
    const Var share = sigmoid(cast((*forget)(x), accumulated_dtype(x.dtype())));
    penalty.forget = scale(share, 1 - options.forget_floor) + options.forget_floor;
  }
  if (options.kind == PenaltyKind::key) {
    penalty.directions = unit_key;
    penalty.weights = beta;
    return penalty;
  }
  penalty.directions = unit_directions_of(*directions, raw_key, options.unit_floor);
  return penalty;
}

void PenaltyBuilder::visit(PartVisitor& parts) {
  parts("lambda0", lambda0);
  parts("directions", directions);
  parts("forget", forget);
}

}  // namespace vla
