#include "models/vla/vla_v3.hpp"

#include <cmath>
#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/rows.hpp"
#include "framework/ops/shaping.hpp"
#include "models/carried.hpp"
#include "models/vla/carried_recurrence.hpp"
#include "models/vla/penalty_builder.hpp"
#include "models/vla/stabilized_chunk.hpp"

namespace vla {
namespace {

VlaV3Options resolved(VlaV3Options options) {
  options.attention = options.attention.resolved();
  check_options(recurrence_options(options), options.attention.dtype);
  check(options.denominator_floor > 0 && std::isfinite(options.denominator_floor),
        "VLA v3: denominator floor ", options.denominator_floor,
        " is not allowed; a finite number above 0 is needed");
  return options;
}

}  // namespace

StabilizedOptions recurrence_options(const VlaV3Options& o) {
  return {.lambda0 = o.lambda0,
          .delta_floor = 1e-4,
          .nudge_period = o.nudge_period,
          .nudge = o.nudge,
          .unit_coefficient = true,
          .unit_floor = o.unit_floor,
          .read_through_inverse = false,
          .error_clip = 0,
          .guard_above = 0};
}

VlaV3::VlaV3(const VlaV3Options& options, Rng& rng)
    : options_(resolved(options)),
      projections_(options_.attention, rng),
      directions_(direction_map(options_.attention.heads, options_.attention.key_width,
                                options_.rank, rng, options_.attention.linear())),
      norm_(options_.attention.heads * options_.attention.value_width, options_.norm_epsilon,
            options_.attention.dtype) {}

VlaV3::Result VlaV3::run(const Var& x, const Carry& carry) {
  const Var raw_key = projections_.key(x, carry.within("key")), k = elu_plus_one(raw_key);
  const Var q = elu_plus_one(projections_.query(x, carry.within("query")));
  const StabilizedInputs inputs{
      .query = q,
      .key = unit(k, options_.unit_floor),
      .value = projections_.value(x, carry.within("value")),
      .directions = unit_directions_of(directions_, raw_key, options_.unit_floor)};
  const StabilizedResult result =
      carried_recurrence(inputs, recurrence_options(options_), options_.form, carry);
  const DType exact =
      accumulated_dtype(x.dtype());  // a sum over all tokens, in no less than float32
  const Var weight = sum(carried_sum(cast(k, exact), carry) * cast(q, exact), {-1}, {.keep = true});
  const Var denominator =
      clamp(weight, options_.denominator_floor, std::numeric_limits<double>::infinity());
  const Var output = cast(cast(result.output, exact) / denominator, x.dtype());
  return {.output = projections_.output(norm_(merge_heads(output))),
          .inverse = result.inverse,
          .memory = result.memory,
          .updates = result.updates,
          .form = result.form,
          .inputs = inputs,
          .denominator = denominator};
}

OperatorForm VlaV3::form(Index /*time*/) const {
  return whole_sequence_form(recurrence_options(options_), options_.form);
}

Diagnostics VlaV3::diagnose(const Var& x, const Tensor&, const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  const Result result = run(x);
  return vla::diagnose(result.inputs, recurrence_options(options_), result.denominator, options);
}

void VlaV3::visit(PartVisitor& parts) {
  projections_.visit(parts);
  parts("directions", directions_);
  parts("norm", norm_);
}

}  // namespace vla
