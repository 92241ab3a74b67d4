#include "models/vla/penalty_builder.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/shaping.hpp"
#include "models/attention.hpp"

namespace vla {

PenaltyBuilder::PenaltyBuilder(const PenaltyBuilderOptions& o, Rng& rng)
    : options(o),
      lambda0(constant_parameter({o.heads}, std::log(std::expm1(o.lambda_start - o.lambda_floor)),
                                 o.linear.dtype)) {
  check(o.rank >= 0, "VLA: rank ", o.rank, " is negative; 0 or more is allowed");
  check(o.lambda_start > o.lambda_floor, "VLA: lambda0 starts at ", o.lambda_start,
        ", which must be above its floor ", o.lambda_floor);
  const Index width = o.heads * o.key_width;
  if (o.kind == PenaltyKind::learned && o.rank > 0) {
    LinearOptions without_bias = o.linear;
    without_bias.bias = false;
    directions.emplace(width, o.rank * width, rng, without_bias);
  }
  if (o.forget) {
    forget.emplace(o.width, o.heads, rng, o.linear);
    forget->bias.mutable_value().fill(6);
  }
}

Penalty PenaltyBuilder::operator()(const Var& x, const Var& raw_key, const Var& unit_key,
                                   const Var& beta) const {
  Penalty penalty;
  penalty.lambda0 = softplus(lambda0) + options.lambda_floor;
  if (forget) penalty.forget = sigmoid((*forget)(x));
  if (options.kind == PenaltyKind::key) {
    penalty.directions = unit_key;
    penalty.weights = beta;
    return penalty;
  }
  const Index batch = x.size(0), time = x.size(1), heads = options.heads, d = options.key_width;
  if (!directions) {
    penalty.directions = Var(Tensor({batch, time, heads, 0, d}, x.dtype(), x.device()));
    return penalty;
  }
  Var u = reshape((*directions)(merge_heads(raw_key)), {batch, time, options.rank, heads, d});
  u = options.rank == 1 ? reshape(u, {batch, time, heads, 1, d}) : permute(u, {0, 1, 3, 2, 4});
  penalty.directions = scale(unit(u, options.unit_floor), 1 / std::sqrt(static_cast<double>(d)));
  return penalty;
}

void PenaltyBuilder::visit(PartVisitor& parts) {
  parts("lambda0", lambda0);
  parts("directions", directions);
  parts("forget", forget);
}

}  // namespace vla
