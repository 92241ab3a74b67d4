#include "models/vla/stabilized_chunk.hpp"

#include <algorithm>

#include "framework/diverged.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/shaping.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/dense.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/stabilized_chunk_cuda.hpp"

namespace vla {
namespace {

// The symbolic direction is one more, and is zero at tokens where it is not active.
Var all_directions(const StabilizedInputs& in) {
  if (!in.symbolic.defined()) return in.directions;
  const Tensor active = in.active.reshape({in.active.size(0), in.active.size(1), 1, 1});
  const Var a = where(active, in.symbolic, Var(zeros_like(in.symbolic.value())));
  return concat({in.directions, reshape(a, a.shape().inserted(3, 1).sizes())}, 3);
}

void invert_on_cpu(const Tensor& penalty, Tensor& result) {
  const Index d = penalty.size(-1), area = d * d;
  Tensor spoilt = penalty.clone();
  std::vector<double> scratch(static_cast<std::size_t>(area));
  for (Index i = 0; i < penalty.size(0) * penalty.size(1); ++i)
    check_not_diverged(invert(spoilt.mutable_data<double>() + i * area, d,
                              result.mutable_data<double>() + i * area, scratch.data()),
                       "stabilized_recurrence: the penalty is not positive definite or not finite");
}

// M^-1 for each of the matrices M (B, H, d, d) of float64.
Tensor inverted(const Tensor& penalty) {
  Tensor result = empty_like(penalty);
  on_device(
      "stabilized_recurrence", penalty.device(), [&] { invert_on_cpu(penalty, result); },
      [&] { cuda::invert_penalties(penalty, result); });
  return result;
}

void count_on_cpu(const StabilizedInputs& in, Tensor& updates) {
  const Index batch = in.query.size(0), time = in.query.size(1);
  auto counts = updates.mutable_values<Index>();
  for (Index b = 0; b < batch; ++b) {
    Index& count = counts[static_cast<std::size_t>(b)];
    if (in.initial_updates.defined()) count += in.initial_updates.data<Index>()[b];
    if (!in.symbolic.defined()) continue;
    const std::uint8_t* active = in.active.data<std::uint8_t>() + b * time;
    count += time - std::count(active, active + time, std::uint8_t{0});
  }
}

Tensor counted_updates(const StabilizedInputs& in) {
  const Device device = in.query.device();
  Tensor updates =
      Tensor::full({in.query.size(0)}, static_cast<double>(in.query.size(1)), DType::int64, device);
  on_device(
      "stabilized_recurrence", device, [&] { count_on_cpu(in, updates); },
      [&] { cuda::count_updates(in, updates); });
  return updates;
}

}  // namespace

std::string chunk_obstacle(const StabilizedInputs& in, const StabilizedOptions& o) {
  if (o.nudge_period > 0 && o.nudge > 0)
    return concatenate("nudge ", o.nudge, " every ", o.nudge_period, " updates");
  if (o.error_clip > 0) return concatenate("error_clip ", o.error_clip);
  if (o.renormalize_above > 0) return concatenate("renormalize_above ", o.renormalize_above);
  if (o.guard_above > 0) return concatenate("guard_above ", o.guard_above);
  // Where A is positive definite delta is at least 1.
  if (o.delta_floor > 1) return concatenate("delta_floor ", o.delta_floor);
  if (o.fallback_below > 1) return concatenate("fallback_below ", o.fallback_below);
  if (in.initial_inverse.defined()) return "a given initial_inverse";
  if (in.initial_memory.defined()) return "a given initial_memory";
  return "";
}

StabilizedResult stabilized_by_chunk(const StabilizedInputs& in, const StabilizedOptions& o) {
  const Shape keys = in.key.shape(), one_vector = keys.inserted(3, 1);
  const Penalty penalty{
      .directions = all_directions(in),
      .lambda0 = Var(Tensor::full({keys[2]}, o.lambda0, in.key.dtype(), in.key.device()))};

  // A is applied to the keys and, where the read-out goes through it, to the queries.
  std::vector<Var> vectors{reshape(in.key, one_vector.sizes())};
  if (o.read_through_inverse) vectors.push_back(reshape(in.query, one_vector.sizes()));
  const InversePenaltyResult solved =
      inverse_penalty(concat(vectors, 3), penalty, {.form = OperatorForm::chunk});
  const auto applied = [&](Index i) {
    return reshape(slice(solved.output, 3, i, i + 1), keys.sizes());
  };

  const Var alpha = o.unit_coefficient ? unit(applied(0), o.unit_floor) : applied(0);
  const DeltaRuleResult memory =
      delta_rule({.query = o.read_through_inverse ? applied(1) : in.query,
                  .key = in.key,
                  .coefficient = alpha,
                  .value = in.value});
  return {memory.output, inverted(solved.state.penalty).to(in.key.dtype()),
          memory.final_state.value(), counted_updates(in), OperatorForm::chunk};
}

}  // namespace vla
