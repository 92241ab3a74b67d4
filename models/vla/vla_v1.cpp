#include "models/vla/vla_v1.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/shaping.hpp"
#include "models/carried.hpp"
#include "models/vla/carried_recurrence.hpp"
#include "models/vla/penalty_builder.hpp"
#include "models/vla/stabilized_chunk.hpp"

namespace vla {
namespace {

VlaV1Options resolved(VlaV1Options options) {
  options.attention = options.attention.resolved();
  check_options(options.recurrence, options.attention.dtype);
  check(options.symbolic >= 0 && std::isfinite(options.symbolic), "VLA v1: symbolic weight ",
        options.symbolic, " is not allowed; 0 or a finite number above it is needed");
  check(options.lambda_floor >= 0 && std::isfinite(options.lambda_floor), "VLA v1: lambda floor ",
        options.lambda_floor, " is not allowed; 0 or a finite number above it is needed");
  check(options.rank >= 0, "VLA v1: rank ", options.rank, " is negative; 0 or more is allowed");
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
    return Var(
        Tensor({key.size(0), key.size(1), key.size(2), 0, key.size(3)}, key.dtype(), key.device()));
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

VlaV1::VlaV1(const VlaV1Options& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      penalty_(options_, rng),
      norm_(options_.attention.heads * options_.attention.value_width, options_.norm_epsilon,
            options_.attention.dtype) {}

VlaV1::Result VlaV1::mix(const Var& x, const Tensor& relations, const Carry& carry) {
  const Var k = projections_.key(x, carry.within("key"));
  StabilizedInputs inputs{.query = projections_.query(x, carry.within("query")),
                          .key = k,
                          .value = projections_.value(x, carry.within("value")),
                          .directions = penalty_.directions(k)};
  if (relations.defined()) check_relations(relations, k);
  if (options_.symbolic > 0) {
    check(relations.defined(), "VLA v1: symbolic weight ", options_.symbolic,
          " needs the tokens or their relations (B, T, T)");
    const SymbolicDirection related = symbolic_direction(k, relations, options_.symbolic);
    inputs.symbolic = related.direction;
    inputs.active = related.active;
  }
  const StabilizedResult result =
      carried_recurrence(inputs, options_.recurrence, options_.form, carry);
  return {.output = projections_.output(norm_(merge_heads(result.output))),
          .lambda = {},
          .inverse = result.inverse,
          .memory = result.memory,
          .updates = result.updates,
          .form = result.form,
          .inputs = inputs};
}

VlaV1::Result VlaV1::run(const Var& x, const Tensor& relations, const Carry& carry) {
  Result result = mix(x, relations, carry);
  result.lambda = penalty_.lambda(result.inputs.key);
  return result;
}

Var VlaV1::operator()(const Var& x) { return mix(x, {}, {}).output; }

Var VlaV1::operator()(const Var& x, const Tensor& tokens) {
  const bool related = options_.symbolic > 0 && tokens.defined();
  return mix(x, related ? equal_tokens(tokens, state_dtype(x.dtype())) : Tensor(), {}).output;
}

Var VlaV1::advance(const Var& x, const Carry& carry) {
  check(options_.symbolic == 0, "VLA v1: with a symbolic weight (", options_.symbolic,
        ") it does not stream: relations are normalised over later tokens too");
  return mix(x, {}, carry).output;
}

OperatorForm VlaV1::form(Index /*time*/) const {
  return whole_sequence_form(options_.recurrence, options_.form);
}

Diagnostics VlaV1::diagnose(const Var& x, const Tensor& tokens, const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  const bool related = options_.symbolic > 0 && tokens.defined();
  const Tensor relations = related ? equal_tokens(tokens, state_dtype(x.dtype())) : Tensor();
  return vla::diagnose(mix(x, relations, {}).inputs, options_.recurrence, {}, options);
}

void VlaV1::visit(PartVisitor& parts) {
  projections_.visit(parts);
  parts("penalty", penalty_);
  parts("norm", norm_);
}

}  // namespace vla
