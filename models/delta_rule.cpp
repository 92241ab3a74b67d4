#include "models/delta_rule.hpp"

#include <algorithm>
#include <cstring>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

struct Sizes {
  Index batch, time, heads, key, value;
  Index segments() const { return (time + kDeltaRuleSegment - 1) / kDeltaRuleSegment; }
  Index state() const { return value * key; }
};

Sizes checked_sizes(const DeltaRuleInputs& in) {
  const Shape& q = in.query.shape();
  check(q.rank() == 4, "delta_rule: query has shape ", q, "; (B, T, H, d) is needed");
  const Shape& v = in.value.shape();
  check(v.rank() == 4 && v[0] == q[0] && v[1] == q[1] && v[2] == q[2], "delta_rule: value ", v,
        " does not fit query ", q, "; (B, T, H, d_v) is needed");
  const Sizes n{q[0], q[1], q[2], q[3], v[3]};
  check(in.coefficient.shape() == q, "delta_rule: coefficient ", in.coefficient.shape(),
        " does not fit query ", q);
  if (in.key.defined())
    check(in.key.shape() == q, "delta_rule: key ", in.key.shape(), " does not fit query ", q);
  if (in.gate.defined())
    check(in.gate.shape() == v, "delta_rule: gate ", in.gate.shape(), " does not fit value ", v);
  if (in.initial_state.defined())
    check(in.initial_state.shape() == Shape({n.batch, n.heads, n.value, n.key}),
          "delta_rule: initial state ", in.initial_state.shape(), " is not (", n.batch, ", ",
          n.heads, ", ", n.value, ", ", n.key, ")");
  for (const Var* part : {&in.key, &in.coefficient, &in.value, &in.gate, &in.initial_state})
    check(!part->defined() ||
              (part->dtype() == in.query.dtype() && part->device() == in.query.device()),
          "delta_rule: inputs differ in element type or device");
  check(in.query.device().is_cpu(), "delta_rule: no kernel for device ", in.query.device());
  return n;
}

// Calls work(b, h) for every sequence and head, in parallel.
template <class Work>
void for_each_head(const Sizes& n, Work work) {
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) work(i / n.heads, i % n.heads);
  });
}

template <class T>
T dot(const T* a, const T* b, Index n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
const T* data_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.data<T>() : nullptr;
}

template <class T>
const T* offset(const T* pointer, Index distance) {
  return pointer ? pointer + distance : nullptr;
}

// S <- diag(g) S + e alpha^T, row by row.
template <class T>
void write_row(T* s, T g, T e, const T* alpha, Index d) {
#pragma omp simd
  for (Index j = 0; j < d; ++j) s[j] = g * s[j] + e * alpha[j];
}

// errors (B,T,H,d_v), states (B,H,segments,d_v,d): S before each segment; final_state (B,H,d_v,d).
template <class T>
void forward(const Sizes& n, const Tensor& query, const Tensor& key, const Tensor& coefficient,
             const Tensor& value, const Tensor& gate, const Tensor& initial, Tensor& output,
             Tensor& errors, Tensor& states, Tensor& final_state) {
  const T *q = query.data<T>(), *k = data_or_null<T>(key), *alpha = coefficient.data<T>();
  const T *v = value.data<T>(), *g = data_or_null<T>(gate), *s0 = data_or_null<T>(initial);
  T *o = output.mutable_data<T>(), *e = errors.mutable_data<T>();
  T *checkpoints = states.mutable_data<T>(), *last = final_state.mutable_data<T>();
  for_each_head(n, [=](Index b, Index h) {
    T* s = last + (b * n.heads + h) * n.state();
    if (s0)
      std::copy_n(s0 + (b * n.heads + h) * n.state(), n.state(), s);
    else
      std::fill_n(s, n.state(), T(0));
    for (Index t = 0; t < n.time; ++t) {
      if (t % kDeltaRuleSegment == 0)
        std::copy_n(
            s, n.state(),
            checkpoints + ((b * n.heads + h) * n.segments() + t / kDeltaRuleSegment) * n.state());
      const Index at = (b * n.time + t) * n.heads + h;
      const T *q_t = q + at * n.key, *k_t = offset(k, at * n.key), *alpha_t = alpha + at * n.key;
      for (Index i = 0; i < n.value; ++i) {
        T* row = s + i * n.key;
        const Index element = at * n.value + i;
        e[element] = v[element] - (k_t ? dot(row, k_t, n.key) : T(0));
        write_row(row, g ? g[element] : T(1), e[element], alpha_t, n.key);
        o[element] = dot(row, q_t, n.key);
      }
    }
  });
}

// What backward needs of one token, and what it adds to.
template <class T>
struct Token {
  const T *q, *k, *alpha, *e, *g, *output_gradient;
  T *dq, *dk, *dalpha, *dv, *dg;
};

// Takes D, the gradient of S after the token, to the gradient of S before it. `before` and `after`
// are S on either side.
template <class T>
void backward_token(const Sizes& n, const Token<T>& token, const T* before, const T* after,
                    T* state_gradient) {
  for (Index i = 0; i < n.value; ++i) {
    const T *row_before = before + i * n.key, *row_after = after + i * n.key;
    T* d = state_gradient + i * n.key;
    const T upstream = token.output_gradient[i], e = token.e[i];
    T de = 0;
#pragma omp simd reduction(+ : de)
    for (Index j = 0; j < n.key; ++j) {
      d[j] += upstream * token.q[j];
      de += d[j] * token.alpha[j];
      token.dq[j] += upstream * row_after[j];
      token.dalpha[j] += e * d[j];
    }
    token.dv[i] = de;
    if (token.g) token.dg[i] = dot(d, row_before, n.key);
    const T g = token.g ? token.g[i] : T(1);
    if (token.k) {
#pragma omp simd
      for (Index j = 0; j < n.key; ++j) {
        token.dk[j] -= de * row_before[j];
        d[j] = g * d[j] - de * token.k[j];
      }
    } else if (token.g) {
#pragma omp simd
      for (Index j = 0; j < n.key; ++j) d[j] *= g;
    }
  }
}

struct DeltaRuleGradients {
  Tensor query, key, coefficient, value, gate, initial_state;
};

template <class T>
void backward(const Sizes& n, const Tensor& query, const Tensor& key, const Tensor& coefficient,
              const Tensor& gate, const Tensor& errors, const Tensor& states,
              const Tensor& output_gradient, DeltaRuleGradients& gradients) {
  const T *q = query.data<T>(), *k = data_or_null<T>(key), *alpha = coefficient.data<T>();
  const T *g = data_or_null<T>(gate), *e = errors.data<T>(), *checkpoints = states.data<T>();
  const T* upstream = output_gradient.data<T>();
  T *dq = gradients.query.mutable_data<T>(), *dalpha = gradients.coefficient.mutable_data<T>();
  T *dv = gradients.value.mutable_data<T>(), *d0 = gradients.initial_state.mutable_data<T>();
  T* dk = k ? gradients.key.mutable_data<T>() : nullptr;
  T* dg = g ? gradients.gate.mutable_data<T>() : nullptr;
  for_each_head(n, [=](Index b, Index h) {
    T* state_gradient = d0 + (b * n.heads + h) * n.state();  // holds that of S_T at first
    // S before each token of a segment, and after its last.
    std::vector<T> segment_states(static_cast<std::size_t>((kDeltaRuleSegment + 1) * n.state()));
    T* s = segment_states.data();
    for (Index segment = n.segments() - 1; segment >= 0; --segment) {
      const Index first = segment * kDeltaRuleSegment;
      const Index count = std::min(kDeltaRuleSegment, n.time - first);
      const auto place = [&](Index t) { return (b * n.time + first + t) * n.heads + h; };
      std::copy_n(checkpoints + ((b * n.heads + h) * n.segments() + segment) * n.state(), n.state(),
                  s);
      for (Index t = 0; t < count; ++t) {
        T* next = s + (t + 1) * n.state();
        std::copy_n(s + t * n.state(), n.state(), next);
        for (Index i = 0; i < n.value; ++i) {
          const Index element = place(t) * n.value + i;
          write_row(next + i * n.key, g ? g[element] : T(1), e[element], alpha + place(t) * n.key,
                    n.key);
        }
      }
      for (Index t = count - 1; t >= 0; --t) {
        const Index key_at = place(t) * n.key, value_at = place(t) * n.value;
        const Token<T> token{q + key_at,    offset(k, key_at),           alpha + key_at,
                             e + value_at,  offset(g, value_at),         upstream + value_at,
                             dq + key_at,   dk ? dk + key_at : nullptr,  dalpha + key_at,
                             dv + value_at, dg ? dg + value_at : nullptr};
        backward_token(n, token, s + t * n.state(), s + (t + 1) * n.state(), state_gradient);
      }
    }
  });
}

std::vector<Tensor> delta_rule_gradients(const Sizes& n, const BackwardContext& at) {
  const Tensor &query = at.saved(0), &key = at.saved(1), &coefficient = at.saved(2);
  const Tensor &gate = at.saved(3), &errors = at.saved(4), &states = at.saved(5);
  DeltaRuleGradients gradients{zeros_like(query),  zeros_like(key),  zeros_like(coefficient),
                               zeros_like(errors), zeros_like(gate), at.gradient(1).clone()};
  dispatch_floating(query.dtype(), "delta_rule", [&](auto zero) {
    backward<decltype(zero)>(n, query, key, coefficient, gate, errors, states, at.gradient(0),
                             gradients);
  });
  return {gradients.query, gradients.key,  gradients.coefficient,
          gradients.value, gradients.gate, gradients.initial_state};
}

Tensor value_or_none(const Var& x) { return x.defined() ? x.value() : Tensor(); }

}  // namespace

DeltaRuleResult delta_rule(const DeltaRuleInputs& in, CallSite site) {
  const Sizes n = checked_sizes(in);
  const DType dtype = in.query.dtype();
  Tensor output({n.batch, n.time, n.heads, n.value}, dtype);
  Tensor errors({n.batch, n.time, n.heads, n.value}, dtype);
  Tensor states({n.batch, n.heads, n.segments(), n.value, n.key}, dtype);
  Tensor final_state({n.batch, n.heads, n.value, n.key}, dtype);
  const Tensor key = value_or_none(in.key), gate = value_or_none(in.gate);
  dispatch_floating(dtype, "delta_rule", [&](auto zero) {
    forward<decltype(zero)>(n, in.query.value(), key, in.coefficient.value(), in.value.value(),
                            gate, value_or_none(in.initial_state), output, errors, states,
                            final_state);
  });
  std::vector<Var> results = record(
      "delta_rule", {output, final_state},
      {in.query, in.key, in.coefficient, in.value, in.gate, in.initial_state},
      {in.query.value(), key, in.coefficient.value(), gate, errors, states},
      [n](const BackwardContext& at) { return delta_rule_gradients(n, at); }, site);
  return {results[0], results[1]};
}

DeltaRuleResult composed_delta_rule(const DeltaRuleInputs& in) {
  const Sizes n = checked_sizes(in);
  // Token t of x (B, T, H, width) as columns (B, H, width, 1).
  const auto column = [&](const Var& x, Index t) {
    return reshape(slice(x, 1, t, t + 1), {n.batch, n.heads, x.size(3), 1});
  };
  Var s = in.initial_state.defined() ? in.initial_state
                                     : Var(Tensor::zeros({n.batch, n.heads, n.value, n.key},
                                                         in.query.dtype(), in.query.device()));
  std::vector<Var> outputs;
  for (Index t = 0; t < n.time; ++t) {
    Var e = column(in.value, t);
    if (in.key.defined()) e = e - matmul(s, column(in.key, t));
    if (in.gate.defined()) s = s * column(in.gate, t);
    s = s + matmul(e, column(in.coefficient, t), {.transpose_b = true});
    outputs.push_back(reshape(matmul(s, column(in.query, t)), {n.batch, 1, n.heads, n.value}));
  }
  if (outputs.empty())
    return {Var(Tensor::zeros({n.batch, 0, n.heads, n.value}, in.query.dtype(), in.query.device())),
            s};
  return {concat(outputs, 1), s};
}

}  // namespace vla
