// The delta rule token by token, from the definition: the specification.

#include <algorithm>
#include <vector>

#include "framework/parallel.hpp"
#include "models/delta_rule.hpp"
#include "models/delta_rule_arrays.hpp"
#include "models/small_matrix.hpp"

namespace vla {
namespace {

using Sizes = DeltaRuleSizes;

Index segments(const Sizes& n) { return (n.time + kDeltaRuleSegment - 1) / kDeltaRuleSegment; }

// Calls work(b, h) for every sequence and head, in parallel.
template <class Work>
void for_each_head(const DeltaRuleSizes& n, Work work) {
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) work(i / n.heads, i % n.heads);
  });
}

template <class T>
T* offset(T* pointer, Index distance) {
  return pointer ? pointer + distance : nullptr;
}

// S <- diag(g) S + e alpha^T, row by row.
template <class T>
void write_row(T* s, T g, T e, const T* alpha, Index d) {
#pragma omp simd
  for (Index j = 0; j < d; ++j) s[j] = g * s[j] + e * alpha[j];
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

}  // namespace

Index states_by_step(const Sizes& n) { return n.batch * n.heads * segments(n) * n.state(); }

template <class T>
void delta_rule_by_step(const DeltaRuleArrays<T>& in, const DeltaRuleOutputs<T>& out) {
  const Sizes& n = in.n;
  for_each_head(n, [&](Index b, Index h) {
    const Index head = b * n.heads + h;
    T* s = out.final_state + head * n.state();
    if (in.initial)
      std::copy_n(in.initial + head * n.state(), n.state(), s);
    else
      std::fill_n(s, n.state(), T(0));
    for (Index t = 0; t < n.time; ++t) {
      if (out.states && t % kDeltaRuleSegment == 0)
        std::copy_n(s, n.state(),
                    out.states + (head * segments(n) + t / kDeltaRuleSegment) * n.state());
      const Index at = in.place(b, t, h);
      const T *q = in.q + at * n.key, *k = offset(in.k, at * n.key), *alpha = in.alpha + at * n.key;
      for (Index i = 0; i < n.value; ++i) {
        T* row = s + i * n.key;
        const Index element = at * n.value + i;
        const T e = in.v[element] - (k ? dot(row, k, n.key) : T(0));
        write_row(row, in.g ? in.g[element] : T(1), e, alpha, n.key);
        if (out.errors) out.errors[element] = e;
        out.o[element] = dot(row, q, n.key);
      }
    }
  });
}

template <class T>
void delta_rule_adjoint_by_step(const DeltaRuleArrays<T>& in, const T* errors, const T* states,
                                const T* output_gradient, const DeltaRuleGradients<T>& out) {
  const Sizes& n = in.n;
  for_each_head(n, [&](Index b, Index h) {
    const Index head = b * n.heads + h;
    T* state_gradient = out.state + head * n.state();
    // S before each token of a segment, and after its last.
    std::vector<T> segment_states(static_cast<std::size_t>((kDeltaRuleSegment + 1) * n.state()));
    T* s = segment_states.data();
    for (Index segment = segments(n) - 1; segment >= 0; --segment) {
      const Index first = segment * kDeltaRuleSegment;
      const Index count = std::min(kDeltaRuleSegment, n.time - first);
      std::copy_n(states + (head * segments(n) + segment) * n.state(), n.state(), s);
      for (Index t = 0; t < count; ++t) {
        const Index at = in.place(b, first + t, h);
        T* next = s + (t + 1) * n.state();
        std::copy_n(s + t * n.state(), n.state(), next);
        for (Index i = 0; i < n.value; ++i) {
          const Index element = at * n.value + i;
          write_row(next + i * n.key, in.g ? in.g[element] : T(1), errors[element],
                    in.alpha + at * n.key, n.key);
        }
      }
      for (Index t = count - 1; t >= 0; --t) {
        const Index at = in.place(b, first + t, h), key = at * n.key, value = at * n.value;
        const Token<T> token{in.q + key,     offset(in.k, key),   in.alpha + key,
                             errors + value, offset(in.g, value), output_gradient + value,
                             out.q + key,    offset(out.k, key),  out.alpha + key,
                             out.v + value,  offset(out.g, value)};
        backward_token(n, token, s + t * n.state(), s + (t + 1) * n.state(), state_gradient);
      }
    }
  });
}

template void delta_rule_by_step(const DeltaRuleArrays<float>&, const DeltaRuleOutputs<float>&);
template void delta_rule_by_step(const DeltaRuleArrays<double>&, const DeltaRuleOutputs<double>&);
template void delta_rule_adjoint_by_step(const DeltaRuleArrays<float>&, const float*, const float*,
                                         const float*, const DeltaRuleGradients<float>&);
template void delta_rule_adjoint_by_step(const DeltaRuleArrays<double>&, const double*,
                                         const double*, const double*,
                                         const DeltaRuleGradients<double>&);

}  // namespace vla
