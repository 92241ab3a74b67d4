#include "models/diagnostics_recorder.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/blas.hpp"
#include "models/small_matrix.hpp"

namespace vla {
namespace {

double length(const double* x, Index n) { return std::sqrt(dot(x, x, n)); }

double length(const std::vector<double>& x) {
  return length(x.data(), static_cast<Index>(x.size()));
}

struct Transition {
  double norm, radius;
};

// I - k alpha^T moves nothing outside the plane of k and alpha, so its norm has a closed form
// (models/README.md, Diagnostics); in one dimension there is no outside.
Transition transition(const MemoryStep& step, Index d) {
  if (!step.key) return {step.keep, step.keep};
  const double along = dot(step.key, step.coefficient, d);
  const double p = length(step.key, d) * length(step.coefficient, d);
  const double shrunk = std::abs(1 - along);
  if (d == 1) return {step.keep * shrunk, step.keep * shrunk};
  const double norm = (p + std::sqrt(std::max(0.0, p * p + 4 - 4 * along))) / 2;
  return {step.keep * norm, step.keep * std::max(1.0, shrunk)};
}

}  // namespace

Tensor read_vectors(const Var& query, const Var& denominator) {
  if (!denominator.defined()) return query.value();
  check(denominator.shape() == query.shape().with(-1, 1), "diagnose: denominator ",
        denominator.shape(), " does not fit query ", query.shape(), "; (B, T, H, 1) is needed");
  return (query / denominator).value();
}

DiagnosticsRecorder::DiagnosticsRecorder(const DiagnosticsSizes& sizes, bool has_penalty,
                                         const DiagnosticsOptions& options)
    : n_(sizes), options_(options) {
  check(n_.key >= 1, "diagnose: keys of width ", n_.key, "; 1 or more is needed");
  check(options.every >= 1, "diagnose: every ", options.every, " is not allowed; 1 or more");
  const Shape per_token{n_.batch, n_.time, n_.heads};
  for (FilledTensor* each : {&error_norm_, &memory_norm_, &transition_norm_, &transition_radius_})
    *each = FilledTensor(per_token);
  if (has_penalty) {
    const Index count = (n_.time + options.every - 1) / options.every;
    eigenvalues_ = FilledTensor({n_.batch, count, n_.heads, n_.key});
    condition_ = FilledTensor({n_.batch, count, n_.heads});
    inverse_norm_ = FilledTensor(per_token);
    inverse_ = FilledTensor({n_.batch, n_.heads, n_.key, n_.key});
    strength_ = FilledTensor(per_token);
  }
  if (options.maps) {
    read_ = FilledTensor({n_.batch, n_.time, n_.heads, n_.key});
    coefficient_ = FilledTensor({n_.batch, n_.time, n_.heads, n_.key});
    keep_ = FilledTensor(per_token);
  }
}

void DiagnosticsRecorder::penalty(DiagnosticsPlace at, double strength,
                                  const std::vector<double>& inverse) {
  const double norm = length(inverse);
  strength_.data[place(at)] = strength;
  inverse_norm_.data[place(at)] = norm;
  if (at.t == n_.time - 1)
    std::ranges::copy(inverse, inverse_.data + (at.b * n_.heads + at.h) * n_.key * n_.key);
  if (at.t % options_.every != 0) return;
  const Index count = condition_.tensor.size(1);
  const Index row = (at.b * count + at.t / options_.every) * n_.heads + at.h;
  double* values = eigenvalues_.data + row * n_.key;
  if (std::isfinite(norm)) {
    std::vector<double> spoilt = inverse;
    symmetric_eigenvalues(spoilt.data(), n_.key, values);
  } else {
    std::fill_n(values, n_.key, std::numeric_limits<double>::quiet_NaN());
  }
  const auto [least, most] = std::minmax_element(
      values, values + n_.key, [](double a, double b) { return std::abs(a) < std::abs(b); });
  condition_.data[row] = std::abs(*most) / std::abs(*least);
}

void DiagnosticsRecorder::memory(DiagnosticsPlace at, const MemoryStep& step,
                                 const std::vector<double>& memory, const double* read) {
  const Transition moved = transition(step, n_.key);
  error_norm_.data[place(at)] = step.error_length;
  memory_norm_.data[place(at)] = length(memory);
  transition_norm_.data[place(at)] = moved.norm;
  transition_radius_.data[place(at)] = moved.radius;
  if (!options_.maps) return;
  keep_.data[place(at)] = step.keep;
  for (Index i = 0; i < n_.key; ++i) {
    read_.data[place(at) * n_.key + i] = read[i];
    coefficient_.data[place(at) * n_.key + i] = step.keep * step.coefficient[i];
  }
}

Diagnostics DiagnosticsRecorder::finish(const Tensor& key) const {
  Diagnostics result{.eigenvalues = eigenvalues_.tensor,
                     .condition = condition_.tensor,
                     .inverse_norm = inverse_norm_.tensor,
                     .inverse = inverse_.tensor,
                     .penalty_strength = strength_.tensor,
                     .error_norm = error_norm_.tensor,
                     .memory_norm = memory_norm_.tensor,
                     .transition_norm = transition_norm_.tensor,
                     .transition_radius = transition_radius_.tensor};
  if (result.condition.defined()) result.times = times();
  if (options_.maps) {
    result.survival = survival();
    result.attention = attention(key);
    result.attention_entropy = attention_entropy(result.attention);
  }
  return result;
}

Tensor DiagnosticsRecorder::times() const {
  Tensor result({condition_.tensor.size(1)}, DType::int64);
  Index t = 0;
  for (Index& time : result.mutable_values<Index>()) time = std::exchange(t, t + options_.every);
  return result;
}

// With what it is given besides v held fixed, the memory is linear in v: run on the values 1 at
// token i and 0 elsewhere, it gives the weights of v_i.
Tensor DiagnosticsRecorder::attention(const Tensor& key) const {
  const Shape square{n_.batch, n_.time, n_.heads, n_.time};
  Tensor identity = Tensor::zeros(square, DType::float64), gate;
  double* ones = identity.mutable_data<double>();
  for (Index place = 0; place < n_.batch * n_.time * n_.heads; ++place)
    ones[place * n_.time + place / n_.heads % n_.time] = 1;
  const std::span<const double> keeps = keep_.tensor.values<double>();
  if (std::ranges::any_of(keeps, [](double keep) { return keep != 1; })) {
    gate = Tensor(square, DType::float64);
    double* rows = gate.mutable_data<double>();
    for (double keep : keeps) rows = std::fill_n(rows, n_.time, keep);
  }
  return delta_rule({.query = read_.tensor,
                     .key = key.defined() ? Var(key) : Var(),
                     .coefficient = coefficient_.tensor,
                     .value = identity,
                     .gate = gate.defined() ? Var(gate) : Var()})
      .output.value();
}

Tensor DiagnosticsRecorder::survival() const {
  FilledTensor result({n_.batch, n_.time, n_.heads, n_.time});
  std::vector<double> left(static_cast<std::size_t>(n_.time));
  for (Index b = 0; b < n_.batch; ++b)
    for (Index h = 0; h < n_.heads; ++h)
      for (Index t = 0; t < n_.time; ++t) {
        const Index reader = place({b, t, h});
        for (Index i = 0; i < t; ++i) left[static_cast<std::size_t>(i)] *= keep_.data[reader];
        left[static_cast<std::size_t>(t)] = error_norm_.data[reader];
        for (Index i = 0; i <= t; ++i)
          result.data[reader * n_.time + i] =
              left[static_cast<std::size_t>(i)] *
              std::abs(dot(coefficient_.data + place({b, i, h}) * n_.key,
                           read_.data + reader * n_.key, n_.key));
      }
  return result.tensor;
}

Tensor attention_entropy(const Tensor& attention) {
  const Index time = attention.size(-1);
  FilledTensor result(attention.shape().without(-1));
  const double* weights = attention.data<double>();
  for (Index row = 0; row < result.tensor.elements(); ++row, weights += time) {
    const double sum = std::accumulate(weights, weights + time, 0.0,
                                       [](double all, double w) { return all + std::abs(w); });
    for (Index i = 0; i < time && sum > 0; ++i) {
      const double share = std::abs(weights[i]) / sum;
      if (share > 0) result.data[row] -= share * std::log(share);
    }
  }
  return result.tensor;
}

}  // namespace vla
