// Diagnostics of the published recurrence: its own steps in float64, looked at from outside.

#include <cmath>

#include "framework/parallel.hpp"
#include "models/diagnostics_recorder.hpp"
#include "models/small_matrix.hpp"
#include "models/vla/stabilized_step.hpp"

namespace vla {
namespace {

using State = StabilizedState<double>;
using Steps = std::vector<InverseStep<double>>;

double length(const std::vector<double>& x) {
  return std::sqrt(dot(x.data(), x.data(), static_cast<Index>(x.size())));
}

// matrix (rows, columns) x.
std::vector<double> product(const std::vector<double>& matrix, const double* x, Index rows,
                            Index columns) {
  std::vector<double> y(static_cast<std::size_t>(rows));
  for (Index i = 0; i < rows; ++i)
    y[static_cast<std::size_t>(i)] = dot(matrix.data() + i * columns, x, columns);
  return y;
}

// u^T A u, summed over the token's directions.
double strength(const State& state, const StabilizedToken<double>& token,
                const StabilizedSizes& n) {
  const auto along = [&](const double* u) {
    return dot(u, product(state.inverse, u, n.key, n.key).data(), n.key);
  };
  double sum = token.symbolic ? along(token.symbolic) : 0;
  for (Index m = 0; m < n.directions; ++m) sum += along(token.u + m * n.key);
  return sum;
}

// alpha of the token that `state` has just passed; the guard moves A only after alpha is formed.
std::vector<double> coefficient(const State& state, const Steps& steps, const double* key,
                                Index d) {
  std::vector<double> alpha;
  if (steps.empty() || steps.back().kind != InverseStep<double>::Kind::guard) {
    state.coefficient(key, alpha);
  } else {
    State before_guard = state;
    for (Index i = 0; i < d; ++i)
      before_guard.inverse[static_cast<std::size_t>(i * (d + 1))] -= steps.back().amount;
    before_guard.coefficient(key, alpha);
  }
  return alpha;
}

// The factor of a renormalisation: S_t over what it was before.
double kept(const std::vector<double>& before, const std::vector<double>& error,
            const std::vector<double>& alpha, const std::vector<double>& after) {
  double written_squares = 0, along = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double written = before[i] + error[i / alpha.size()] * alpha[i % alpha.size()];
    written_squares += written * written;
    along += written * after[i];
  }
  return written_squares > 0 ? along / written_squares : 1;
}

// Moves `state` over a token and writes down what happened.
void follow(const StabilizedSizes& n, const StabilizedOptions& options,
            const StabilizedToken<double>& token, DiagnosticsPlace at, State& state,
            DiagnosticsRecorder& recorder) {
  const double pressure = strength(state, token, n);
  const std::vector<double> before = state.memory;
  Steps steps;
  state.forward(token, steps);
  recorder.penalty(at, pressure, state.inverse);

  std::vector<double> error = product(before, token.k, n.value, n.key);
  for (Index i = 0; i < n.value; ++i)
    error[static_cast<std::size_t>(i)] = token.v[i] - error[static_cast<std::size_t>(i)];
  const double error_length = length(error);
  state.clip(error);
  const double clipped = error_length > 0 ? length(error) / error_length : 1;
  std::vector<double> alpha = coefficient(state, steps, token.k, n.key);
  const double keep = options.renormalize_above > 0 ? kept(before, error, alpha, state.memory) : 1;
  for (double& element : alpha) element *= clipped;

  std::vector<double> read(token.q, token.q + n.key);
  if (options.read_through_inverse) read = product(state.inverse, token.q, n.key, n.key);
  recorder.memory(at, {token.k, alpha.data(), keep, error_length}, state.memory, read.data());
}

// On the CPU.
Tensor float64(const Var& x) {
  return x.defined() ? x.value().to(Device{}).to(DType::float64) : Tensor();
}

}  // namespace

Diagnostics diagnose(const StabilizedInputs& in, const StabilizedOptions& recurrence,
                     const Var& denominator, const DiagnosticsOptions& options) {
  const PauseRecording only_looked_at;
  check(!in.initial_inverse.defined() && !in.initial_memory.defined(),
        "diagnose: the recurrence has an initial state; one from the start of its sequence is "
        "needed");
  stabilized_recurrence(in, recurrence);  // refuses what does not fit, in its own words
  const Shape &keys = in.query.shape(), &values = in.value.shape();
  const StabilizedSizes n{keys[0], keys[1], keys[2], in.directions.size(3), keys[3], values[3]};
  const Tensor k = float64(in.key), v = float64(in.value), u = float64(in.directions);
  const Tensor active = in.symbolic.defined() ? in.active.to(Device{}) : Tensor();
  const Tensor symbolic = float64(in.symbolic), below = float64(denominator);
  const Tensor q = read_vectors(float64(in.query), below.defined() ? Var(below) : Var());

  DiagnosticsRecorder recorder({n.batch, n.time, n.heads, n.key, n.value}, true, options);
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    std::vector<double> output(static_cast<std::size_t>(n.value));
    for (Index i = begin; i < end; ++i) {
      const Index b = i / n.heads, h = i % n.heads;
      State state(n, recurrence);
      for (Index t = 0; t < n.time; ++t) {
        const Index place = (b * n.time + t) * n.heads + h;
        const bool related = symbolic.defined() && active.data<std::uint8_t>()[b * n.time + t] != 0;
        const StabilizedToken<double> token{
            .q = q.data<double>() + place * n.key,
            .k = k.data<double>() + place * n.key,
            .v = v.data<double>() + place * n.value,
            .u = u.data<double>() + place * n.directions * n.key,
            .symbolic = related ? symbolic.data<double>() + place * n.key : nullptr,
            .o = output.data()};
        follow(n, recurrence, token, {b, t, h}, state, recorder);
      }
    }
  });
  return recorder.finish(k);
}

}  // namespace vla
