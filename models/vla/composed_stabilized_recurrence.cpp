// The stabilised recurrence written with primitive ops only, so that its gradient comes from the
// tape: what the operator's analytic gradient is compared with.

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "models/vla/stabilized_recurrence.hpp"

namespace vla {
namespace {

Tensor identity(Index n, double value, const Var& like) {
  const DType dtype = like.dtype();
  Tensor result = Tensor::zeros({n, n}, dtype);
  dispatch_floating(dtype, "identity", [&](auto zero) {
    for (Index i = 0; i < n; ++i)
      result.mutable_data<decltype(zero)>()[i * (n + 1)] = static_cast<decltype(zero)>(value);
  });
  return result.to(like.device());
}

// 1 where `test` holds for the value, 0 elsewhere: a condition, without a gradient.
template <class Test>
Tensor condition(const Var& x, Test test) {
  const Tensor values = x.value().to(DType::float64).to(Device{});
  Tensor result(x.shape(), DType::uint8);
  for (Index i = 0; i < values.elements(); ++i)
    result.mutable_data<std::uint8_t>()[i] = test(values.data<double>()[i]);
  return result.to(x.device());
}

Var column(const Var& x, Index t) {  // token t of x (B, T, H, d) as (B, H, d, 1)
  return reshape(slice(x, 1, t, t + 1), {x.size(0), x.size(2), x.size(3), 1});
}

// A of all sequences and heads, (B, H, d, d), and the count of updates of each sequence.
struct Inverse {
  Var a;
  std::vector<Index> updates;  // per sequence
};

// A step for the sequences that are active, (B, 1, 1, 1) on the CPU; then the nudge where its time
// has come.
void update(Inverse& inverse, const std::vector<Var>& directions, const Tensor& active,
            const StabilizedOptions& o) {
  const Index d = inverse.a.size(-1);
  const Device device = inverse.a.device();
  for (const Var& u : directions) {
    const Var z = matmul(inverse.a, u);
    const Var delta = matmul(u, z, {.transpose_a = true}) + 1.0;
    const Var divisor = clamp(delta, o.delta_floor, std::numeric_limits<double>::infinity());
    const Var updated = inverse.a - matmul(z, z, {.transpose_b = true}) / divisor;
    const Var fallen_back = inverse.a + Var(identity(d, o.fallback_below, inverse.a));
    const Tensor small = condition(delta, [&](double x) { return std::abs(x) < o.fallback_below; });
    inverse.a = where(active.to(device), where(small, fallen_back, updated), inverse.a);
  }
  Tensor due = Tensor::zeros(active.shape(), DType::uint8);
  for (std::size_t b = 0; b < inverse.updates.size(); ++b) {
    if (active.values<std::uint8_t>()[b] == 0) continue;
    ++inverse.updates[b];
    due.mutable_values<std::uint8_t>()[b] =
        o.nudge_period > 0 && inverse.updates[b] % o.nudge_period == 0;
  }
  inverse.a = where(due.to(device), inverse.a + Var(identity(d, o.nudge, inverse.a)), inverse.a);
}

Var clip(const Var& error, const StabilizedOptions& o) {
  if (o.error_clip == 0) return error;
  const Var length = norm(error, {2, 3}, {.keep = true});
  const Var shortened = error * o.error_clip / (length + 1e-6);
  return where(condition(length, [&](double x) { return x > o.error_clip; }), shortened, error);
}

Var renormalized(const Var& memory, const StabilizedOptions& o) {
  if (o.renormalize_above == 0) return memory;
  const Var length = norm(memory, {2, 3}, {.keep = true});
  const Tensor large = condition(length, [&](double x) { return x > o.renormalize_above; });
  return where(large, memory / length, memory);
}

Var guarded(const Var& a, const Var& memory, const StabilizedOptions& o) {
  if (o.guard_above == 0) return a;
  const auto large = [&](double x) { return x > o.guard_above; };
  const Var lifted = a + Var(identity(a.size(-1), o.guard, a));
  const Tensor memory_large = condition(norm(memory, {2, 3}, {.keep = true}), large);
  const Tensor inverse_large = condition(norm(a, {2, 3}, {.keep = true}), large);
  return where(memory_large, lifted, where(inverse_large, lifted, a));
}

}  // namespace

StabilizedResult composed_stabilized_recurrence(const StabilizedInputs& in,
                                                const StabilizedOptions& o) {
  const Index batch = in.query.size(0), time = in.query.size(1), heads = in.query.size(2);
  const Index d = in.query.size(3), value_width = in.value.size(3), rank = in.directions.size(3);
  const DType dtype = in.query.dtype();
  const Device device = in.query.device();
  const Var start = Var(Tensor::zeros({batch, heads, d, d}, dtype, device)) +
                    Var(identity(d, 1 / o.lambda0, in.query));
  Inverse inverse{in.initial_inverse.defined() ? Var(in.initial_inverse) : start,
                  std::vector<Index>(static_cast<std::size_t>(batch))};
  if (in.initial_updates.defined())
    std::ranges::copy(in.initial_updates.to(Device{}).values<Index>(), inverse.updates.begin());
  Var memory = in.initial_memory.defined()
                   ? Var(in.initial_memory)
                   : Var(Tensor::zeros({batch, heads, value_width, d}, dtype, device));
  const Tensor marks = in.symbolic.defined() ? in.active.to(Device{}) : Tensor();
  const Tensor all = Tensor::full({batch, 1, 1, 1}, 1, DType::uint8);
  std::vector<Var> outputs;
  for (Index t = 0; t < time; ++t) {
    std::vector<Var> directions;
    for (Index m = 0; m < rank; ++m)
      directions.push_back(
          column(reshape(slice(in.directions, 3, m, m + 1), {batch, time, heads, d}), t));
    update(inverse, directions, all, o);
    if (in.symbolic.defined()) {
      Tensor active({batch, 1, 1, 1}, DType::uint8);
      for (Index b = 0; b < batch; ++b)
        active.mutable_data<std::uint8_t>()[b] = marks.at<std::uint8_t>({b, t});
      update(inverse, {column(in.symbolic, t)}, active, o);
    }
    const Var k = column(in.key, t), q = column(in.query, t);
    Var alpha = reshape(matmul(inverse.a, k), {batch, heads, d});
    if (o.unit_coefficient) alpha = unit(alpha, o.unit_floor);
    const Var error = clip(column(in.value, t) - matmul(memory, k), o);
    memory = renormalized(memory + matmul(error, reshape(alpha, {batch, heads, 1, d})), o);
    inverse.a = guarded(inverse.a, memory, o);
    const Var read = o.read_through_inverse ? matmul(inverse.a, q) : q;
    outputs.push_back(reshape(matmul(memory, read), {batch, 1, heads, value_width}));
  }
  const Var output = outputs.empty() ? in.value : concat(outputs, 1);
  return {output, inverse.a.value(), memory.value(),
          Tensor::from<Index>({batch}, inverse.updates, device)};
}

}  // namespace vla
