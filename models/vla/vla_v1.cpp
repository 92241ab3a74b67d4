#include "models/vla/vla_v1.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/shaping.hpp"
#include "models/vla/penalty_builder.hpp"

namespace vla {
namespace {

VlaV1Options resolved(VlaV1Options options) {
  options.attention = options.attention.resolved();
  check(options.symbolic >= 0, "VLA v1: symbolic weight ", options.symbolic, " is negative");
  return options;
}

std::vector<Linear> direction_maps(const VlaV1Options& o, Rng& rng) {
  const AttentionOptions& a = o.attention;
  const bool separate = o.directions == DirectionKind::separate;
  std::vector<Linear> maps;
  for (Index m = 0; m < (separate ? o.rank : 1); ++m)
    maps.push_back(direction_map(a.heads, a.key_width, separate ? 1 : o.rank, rng, a.linear()));
  return maps;
}

// The lower triangle of the normalised relations (B, T, T), and the tokens that are related to
// one up to themselves (B, T).
struct Relations {
  Tensor weights;
  Tensor active;
};

Relations normalized(const Tensor& relations, Index batch, Index time) {
  check(relations.shape() == Shape({batch, time, time}), "VLA v1: relations ", relations.shape(),
        " are not (", batch, ", ", time, ", ", time, ")");
  Relations result{zeros_like(relations),
                   Tensor::zeros({batch, time}, DType::uint8, relations.device())};
  dispatch_floating(relations.dtype(), "VLA v1", [&](auto zero) {
    using T = decltype(zero);
    auto* active = result.active.mutable_data<std::uint8_t>();
    std::vector<T> root(static_cast<std::size_t>(time));
    for (Index b = 0; b < batch; ++b) {
      const T* r = relations.data<T>() + b * time * time;
      T* w = result.weights.mutable_data<T>() + b * time * time;
      for (Index t = 0; t < time; ++t) {
        T sum = T(1e-6);
        for (Index j = 0; j < time; ++j) sum += r[t * time + j];
        root[static_cast<std::size_t>(t)] = 1 / std::sqrt(sum);
      }
      for (Index t = 0; t < time; ++t)
        for (Index j = 0; j <= t; ++j) {
          w[t * time + j] = r[t * time + j] * root[static_cast<std::size_t>(t)] *
                            root[static_cast<std::size_t>(j)];
          if (w[t * time + j] != 0) active[b * time + t] = 1;
        }
    }
  });
  return result;
}

}  // namespace

VlaV1PenaltyBuilder::VlaV1PenaltyBuilder(const VlaV1Options& o, Rng& rng)
    : kind(o.directions),
      rank(o.rank),
      lambda_floor(o.lambda_floor),
      maps(direction_maps(o, rng)),
      lambda_hidden(o.attention.heads * o.attention.key_width,
                    4 * o.attention.heads * o.attention.key_width, rng, o.attention.linear()),
      lambda_out(4 * o.attention.heads * o.attention.key_width, 1, rng, o.attention.linear()) {}

Var VlaV1PenaltyBuilder::directions(const Var& key) const {
  if (maps.empty())
    return Var(Tensor({key.size(0), key.size(1), key.size(2), 0, key.size(3)}, key.dtype()));
  std::vector<Var> parts;
  for (const Linear& map : maps) parts.push_back(directions_of(map, key));
  Var u = concat(parts, 3);
  if (kind == DirectionKind::kernel) u = elu_plus_one(u);
  return scale(u, 1 / std::sqrt(static_cast<double>(key.size(3))));
}

Tensor VlaV1PenaltyBuilder::lambda(const Var& key) const {
  const PauseRecording only_reported;
  const Var raw = softplus(lambda_out(relu(lambda_hidden(merge_heads(key)))));
  return clamp(raw, lambda_floor, INFINITY).value().reshape({key.size(0), key.size(1)});
}

void VlaV1PenaltyBuilder::visit(PartVisitor& parts) {
  parts("directions", maps);
  parts("lambda.hidden", lambda_hidden);
  parts("lambda.out", lambda_out);
}

Tensor equal_tokens(const Tensor& tokens, DType dtype) {
  check(tokens.rank() == 2, "equal_tokens: tokens have shape ", tokens.shape(),
        "; (B, T) is needed");
  const Index batch = tokens.size(0), time = tokens.size(1);
  Tensor result = Tensor::zeros({batch, time, time}, dtype, tokens.device());
  dispatch_floating(dtype, "equal_tokens", [&](auto zero) {
    auto* relation = result.mutable_data<decltype(zero)>();
    const Index* token = tokens.data<Index>();
    for (Index i = 0; i < batch * time; ++i)
      for (Index j = 0; j < time; ++j)
        if (token[i] == token[i / time * time + j]) relation[i * time + j] = 1;
  });
  return result;
}

VlaV1::VlaV1(const VlaV1Options& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      penalty_(options_, rng),
      norm_(options_.attention.heads * options_.attention.value_width, options_.norm_epsilon,
            options_.attention.dtype) {}

VlaV1::Result VlaV1::run(const Var& x, const Tensor& relations) {
  const Var k = projections_.key(x);
  StabilizedInputs inputs{.query = projections_.query(x),
                          .key = k,
                          .value = projections_.value(x),
                          .directions = penalty_.directions(k)};
  if (options_.symbolic > 0 && relations.defined()) {
    const Relations related = normalized(relations, x.size(0), x.size(1));
    const Var sums = matmul(Var(related.weights), merge_heads(k));
    inputs.symbolic = reshape(scale(sums, std::sqrt(options_.symbolic)), k.shape().sizes());
    inputs.active = related.active;
  }
  const StabilizedResult result = stabilized_recurrence(inputs, options_.recurrence);
  return {projections_.output(norm_(merge_heads(result.output))), penalty_.lambda(k),
          result.inverse, result.memory, inputs};
}

Var VlaV1::operator()(const Var& x, const Tensor& tokens) {
  return run(x, options_.symbolic > 0 ? equal_tokens(tokens, x.dtype()) : Tensor()).output;
}

Diagnostics VlaV1::diagnose(const Var& x, const Tensor& tokens, const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  const Tensor relations = options_.symbolic > 0 ? equal_tokens(tokens, x.dtype()) : Tensor();
  return vla::diagnose(run(x, relations).inputs, options_.recurrence, {}, options);
}

void VlaV1::visit(PartVisitor& parts) {
  projections_.visit(parts);
  parts("penalty", penalty_);
  parts("norm", norm_);
}

}  // namespace vla
