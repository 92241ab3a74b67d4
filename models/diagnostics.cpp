#include "models/diagnostics.hpp"

#include <cmath>
#include <numeric>
#include <optional>

#include "framework/parallel.hpp"
#include "models/diagnostics_recorder.hpp"
#include "models/vla/penalty_arrays.hpp"
#include "models/vla/penalty_tracker.hpp"

namespace vla {
namespace {

// Constants on the CPU, so that nothing is recorded.
Var float64(const Var& x) {
  return x.defined() ? Var(x.value().to(Device{}).to(DType::float64)) : Var();
}

MemoryInputs float64(const MemoryInputs& in) {
  const DeltaRuleInputs& memory = in.memory;
  const Penalty& penalty = in.penalty;
  return {.memory = {.query = float64(memory.query),
                     .key = float64(memory.key),
                     .coefficient = float64(memory.coefficient),
                     .value = float64(memory.value)},
          .denominator = float64(in.denominator),
          .penalty = {.directions = float64(penalty.directions),
                      .weights = float64(penalty.weights),
                      .forget = float64(penalty.forget),
                      .lambda0 = float64(penalty.lambda0)},
          .restore_period = in.restore_period};
}

// The operators refuse shapes and values that do not fit, in their own words.
DiagnosticsSizes checked_sizes(const MemoryInputs& in) {
  delta_rule(in.memory);
  if (in.penalty.directions.defined())
    inverse_penalty(in.memory.query, in.penalty, {.restore_period = in.restore_period});
  const Shape& q = in.memory.query.shape();
  return {q[0], q[1], q[2], q[3], in.memory.value.size(3)};
}

// Moves the tracker's penalty over a token; returns the strength of the token's directions.
double add_directions(const PenaltyArrays<double>& in, Index place, PenaltyTracker& tracker) {
  const Index d = in.n.width;
  std::vector<double> z(static_cast<std::size_t>(d));
  double strength = 0;
  if (in.forget) tracker.forget(in.forget[place]);
  for (Index m = 0; m < in.n.rank; ++m) {
    const double* u = in.direction(place, m);
    tracker.apply(u, z.data());
    strength += in.weight(place, m) * std::inner_product(u, u + d, z.data(), 0.0);
  }
  for (Index m = 0; m < in.n.rank; ++m) tracker.add(in.direction(place, m), in.weight(place, m));
  return strength;
}

// The inputs of a memory as plain arrays; a null key stands for no read.
struct MemoryArrays {
  const double *read, *key, *coefficient, *value;
};

// One sequence and head, token by token from the definition; `penalty` may be null.
void follow(const DiagnosticsSizes& n, Index b, Index h, const MemoryArrays& in,
            const PenaltyArrays<double>* penalty, DiagnosticsRecorder& recorder) {
  std::optional<PenaltyTracker> tracker;
  if (penalty) tracker.emplace(n.key, penalty->lambda0[h]);
  std::vector<double> memory(static_cast<std::size_t>(n.value * n.key));
  for (Index t = 0; t < n.time; ++t) {
    const Index place = (b * n.time + t) * n.heads + h;
    if (tracker) {
      const double strength = add_directions(*penalty, place, *tracker);
      recorder.penalty({b, t, h}, strength, tracker->inverse());
      tracker->close_token(penalty->restore_period);
    }
    const double* key = in.key ? in.key + place * n.key : nullptr;
    const double* coefficient = in.coefficient + place * n.key;
    double squares = 0;
    for (Index i = 0; i < n.value; ++i) {
      double* row = memory.data() + i * n.key;
      double error = in.value[place * n.value + i];
      if (key) error -= std::inner_product(row, row + n.key, key, 0.0);
      for (Index j = 0; j < n.key; ++j) row[j] += error * coefficient[j];
      squares += error * error;
    }
    recorder.memory({b, t, h}, {key, coefficient, 1, std::sqrt(squares)}, memory,
                    in.read + place * n.key);
  }
}

}  // namespace

Diagnostics diagnose(const MemoryInputs& inputs, const DiagnosticsOptions& options) {
  check(!inputs.memory.gate.defined() && !inputs.memory.initial_state.defined(),
        "diagnose: the memory has a gate or an initial state; one without a gate, from the start "
        "of its sequence, is needed");
  const MemoryInputs in = float64(inputs);
  const DiagnosticsSizes n = checked_sizes(in);
  const Tensor read = read_vectors(in.memory.query, in.denominator);
  const Tensor key = value_or_none(in.memory.key);
  const MemoryArrays arrays{read.data<double>(), key.defined() ? key.data<double>() : nullptr,
                            in.memory.coefficient.value().data<double>(),
                            in.memory.value.value().data<double>()};
  std::optional<PenaltyArrays<double>> penalty;
  const Tensor directions = value_or_none(in.penalty.directions);
  if (directions.defined())
    penalty.emplace(PenaltySizes{n.batch, n.time, n.heads, 1,
                                 directions.rank() == 5 ? directions.size(3) : 1, n.key},
                    InversePenaltyOptions{.restore_period = in.restore_period}, directions,
                    value_or_none(in.penalty.weights), value_or_none(in.penalty.forget),
                    in.penalty.lambda0.value());

  DiagnosticsRecorder recorder(n, penalty.has_value(), options);
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      follow(n, i / n.heads, i % n.heads, arrays, penalty ? &*penalty : nullptr, recorder);
  });
  return recorder.finish(key);
}

}  // namespace vla
