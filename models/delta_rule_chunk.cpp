// The delta rule by chunks of tokens, in matrix products. With the rows of a chunk as matrices and
// S as it is before the chunk,
//
//   (I + tril(K A^T, -1)) E = V - K S^T,   O = Q S^T + tril(Q A^T) E,   S(next) = S + E^T A
//
// (A stands for alpha), and backwards with D, the gradient of S after the chunk, and G that of O,
//
//   (I + triu(A K^T, 1)) dV = A D^T + triu(A Q^T) G
//   dQ = G S + tril(G E^T) A,    dK = -(dV S + tril(dV E^T, -1) A)
//   dA = E D + triu(E G^T) Q - triu(E dV^T, 1) K,    D(before) = D + G^T Q - dV^T K.
//
// The triangular systems go by blocks of kBlock rows, whose inverses are formed.
// Source of the forward form: Yang et al., "Parallelizing Linear Transformers with the Delta Rule".

#include <algorithm>
#include <vector>

#include "framework/parallel.hpp"
#include "models/delta_rule_arrays.hpp"
#include "models/small_matrix.hpp"

namespace vla {
namespace {

using Sizes = DeltaRuleSizes;

Index chunks(const Sizes& n, Index chunk) { return (n.time + chunk - 1) / chunk; }

// A matrix of its own memory.
template <class T>
struct Held {
  Held(Index rows, Index columns) : data(numbers<T>(rows * columns)), stride(columns) {}
  operator Matrix<T>() { return {data.data(), stride}; }
  operator Matrix<const T>() const { return {data.data(), stride}; }
  Matrix<T> from(Index row, Index column) { return Matrix<T>(*this).from(row, column); }
  Matrix<const T> read(Index row, Index column) const {
    return Matrix<const T>(*this).from(row, column);
  }
  std::vector<T> data;
  Index stride;
};

// Which of a chunk's tokens are meant: those of one head, `count` from `first` on.
struct Tokens {
  Index b, h, first, count;
};

template <class T>
void gather(const DeltaRuleArrays<T>& in, const Tokens& at, const T* x, Index width,
            Held<T>& into) {
  for (Index t = 0; t < padded(at.count); ++t) {
    T* row = into.from(t, 0).data;
    if (t < at.count)
      std::copy_n(x + in.place(at.b, at.first + t, at.h) * width, width, row);
    else
      std::fill_n(row, width, T(0));
  }
}

template <class T>
void scatter(const DeltaRuleArrays<T>& in, const Tokens& at, const Held<T>& from, Index width,
             T* x) {
  for (Index t = 0; t < at.count; ++t)
    std::copy_n(from.read(t, 0).data, width, x + in.place(at.b, at.first + t, at.h) * width);
}

// The part of `rows` x (a)^T on and below the diagonal: products (n, n) with the tokens of `rows`
// before those of a, whose transpose is given. Zeros above the diagonal, and on it if `strict`.
template <class T>
void lower_products(Index n, Index width, bool strict, const Held<T>& rows,
                    const Held<T>& a_transposed, Held<T>& products) {
  for (Index i = 0; i < n; i += kBlock) {
    multiply<T>(Into::set, kBlock, i + kBlock, width, rows.read(i, 0), a_transposed,
                products.from(i, 0));
    for (Index row = 0; row < kBlock; ++row) {
      T* from = products.from(i + row, 0).data;
      std::fill(from + i + row + (strict ? 0 : 1), from + i + kBlock, T(0));
    }
  }
}

// into (n, width) (+)= L x for L as above; or L^T x.
template <class T>
void add_lower(Into how, Index n, Index width, const Held<T>& l, const Held<T>& x, Held<T>& into) {
  for (Index i = 0; i < n; i += kBlock)
    multiply<T>(how, kBlock, width, i + kBlock, l.read(i, 0), x, into.from(i, 0));
}
template <class T>
void add_lower_transposed(Into how, Index n, Index width, const Held<T>& l, const Held<T>& x,
                          Held<T>& into) {
  for (Index i = 0; i < n; i += kBlock)
    multiply_transposed<T>(how, kBlock, width, n - i, l.read(i, i), x.read(i, 0), into.from(i, 0));
}

// What one head works with; all padded.
template <class T>
struct Workspace {
  Index key, value;  // d and d_v
  Held<T> q, k, alpha, e, o, alpha_transposed, e_transposed, l, r, x1, x2;
  Held<T> state, state_transposed, gradient, gradient_transposed, dv, dq, dk, dalpha;
  Held<T> block_inverse, block_rows;

  Workspace(const Sizes& n, Index chunk, bool backward)
      : key(padded(n.key)),
        value(padded(n.value)),
        q(chunk, key),
        k(chunk, key),
        alpha(chunk, key),
        e(chunk, value),
        o(chunk, value),
        alpha_transposed(key, chunk),
        e_transposed(backward ? value : 0, chunk),
        l(chunk, chunk),
        r(chunk, chunk),
        x1(backward ? chunk : 0, chunk),
        x2(backward ? chunk : 0, chunk),
        state(value, key),
        state_transposed(key, value),
        gradient(backward ? value : 0, key),
        gradient_transposed(backward ? key : 0, value),
        dv(backward ? chunk : 0, value),
        dq(backward ? chunk : 0, key),
        dk(backward ? chunk : 0, key),
        dalpha(backward ? chunk : 0, key),
        block_inverse(kBlock, kBlock),
        block_rows(kBlock, value) {}

  // x_i <- (I + L_ii)^-1 x_i for the block of rows at i, or its transpose.
  template <bool transposed>
  void solve_block(Index i, Held<T>& x) {
    invert_unit_lower<T>(l.read(i, i), block_inverse);
    std::copy_n(x.from(i, 0).data, kBlock * value, block_rows.data.data());
    if constexpr (transposed)
      multiply_transposed<T>(Into::set, kBlock, value, kBlock, block_inverse, block_rows,
                             x.from(i, 0));
    else
      multiply<T>(Into::set, kBlock, value, kBlock, block_inverse, block_rows, x.from(i, 0));
  }
};

template <class T>
void forward_chunk(const DeltaRuleArrays<T>& in, const Tokens& at, Workspace<T>& w,
                   const DeltaRuleOutputs<T>& out) {
  const Index n = padded(at.count);
  gather(in, at, in.q, in.n.key, w.q);
  gather(in, at, in.alpha, in.n.key, w.alpha);
  gather(in, at, in.v, in.n.value, w.e);
  transpose<T>(n, w.key, w.alpha, w.alpha_transposed);
  if (in.k) {
    gather(in, at, in.k, in.n.key, w.k);
    lower_products(n, w.key, true, w.k, w.alpha_transposed, w.l);
    multiply<T>(Into::subtract, n, w.value, w.key, w.k, w.state_transposed, w.e);
    for (Index i = 0; i < n; i += kBlock) {
      multiply<T>(Into::subtract, kBlock, w.value, i, w.l.read(i, 0), w.e, w.e.from(i, 0));
      w.template solve_block<false>(i, w.e);
    }
    if (out.errors) scatter(in, at, w.e, in.n.value, out.errors);
  }
  multiply<T>(Into::set, n, w.value, w.key, w.q, w.state_transposed, w.o);
  lower_products(n, w.key, false, w.q, w.alpha_transposed, w.r);
  add_lower(Into::add, n, w.value, w.r, w.e, w.o);
  scatter(in, at, w.o, in.n.value, out.o);
  multiply_transposed<T>(Into::add, w.key, w.value, n, w.alpha, w.e, w.state_transposed);
}

template <class T>
void backward_chunk(const DeltaRuleArrays<T>& in, const Tokens& at, const T* errors,
                    const T* output_gradient, Workspace<T>& w, const DeltaRuleGradients<T>& out) {
  const Index n = padded(at.count);
  Held<T>& g = w.o;
  gather(in, at, in.q, in.n.key, w.q);
  gather(in, at, in.alpha, in.n.key, w.alpha);
  gather(in, at, errors, in.n.value, w.e);
  gather(in, at, output_gradient, in.n.value, g);
  transpose<T>(n, w.key, w.alpha, w.alpha_transposed);
  transpose<T>(n, w.value, w.e, w.e_transposed);
  transpose<T>(w.value, w.key, w.gradient, w.gradient_transposed);

  multiply<T>(Into::set, n, w.value, w.key, w.alpha, w.gradient_transposed, w.dv);
  lower_products(n, w.key, false, w.q, w.alpha_transposed, w.r);
  add_lower_transposed(Into::add, n, w.value, w.r, g, w.dv);
  if (in.k) {
    gather(in, at, in.k, in.n.key, w.k);
    lower_products(n, w.key, true, w.k, w.alpha_transposed, w.l);
    for (Index i = n - kBlock; i >= 0; i -= kBlock) {
      const Index next = i + kBlock;
      multiply_transposed<T>(Into::subtract, kBlock, w.value, n - next, w.l.read(next, i),
                             w.dv.read(next, 0), w.dv.from(i, 0));
      w.template solve_block<true>(i, w.dv);
    }
  }

  multiply<T>(Into::set, n, w.key, w.value, g, w.state, w.dq);
  lower_products(n, w.value, false, g, w.e_transposed, w.x1);
  add_lower(Into::add, n, w.key, w.x1, w.alpha, w.dq);
  multiply<T>(Into::set, n, w.key, w.value, w.e, w.gradient, w.dalpha);
  add_lower_transposed(Into::add, n, w.key, w.x1, w.q, w.dalpha);
  multiply_transposed<T>(Into::add, w.value, w.key, n, g, w.q, w.gradient);
  if (in.k) {
    std::ranges::fill(w.dk.data, T(0));
    multiply<T>(Into::subtract, n, w.key, w.value, w.dv, w.state, w.dk);
    lower_products(n, w.value, true, w.dv, w.e_transposed, w.x2);
    add_lower(Into::subtract, n, w.key, w.x2, w.alpha, w.dk);
    add_lower_transposed(Into::subtract, n, w.key, w.x2, w.k, w.dalpha);
    multiply_transposed<T>(Into::subtract, w.value, w.key, n, w.dv, w.k, w.gradient);
    scatter(in, at, w.dk, in.n.key, out.k);
  }
  scatter(in, at, w.dv, in.n.value, out.v);
  scatter(in, at, w.dq, in.n.key, out.q);
  scatter(in, at, w.dalpha, in.n.key, out.alpha);
}

// Between a state (d_v, d) and one that is padded.
template <class T>
void pad_state(const Sizes& n, const T* state, Held<T>& into) {
  std::ranges::fill(into.data, T(0));
  for (Index i = 0; i < n.value; ++i) std::copy_n(state + i * n.key, n.key, into.from(i, 0).data);
}
template <class T>
void unpad_state(const Sizes& n, const Held<T>& from, T* state) {
  for (Index i = 0; i < n.value; ++i) std::copy_n(from.read(i, 0).data, n.key, state + i * n.key);
}

// Calls work(workspace, b, h) for every sequence and head, in parallel, a workspace for each
// thread.
template <class T, class Work>
void for_each_head(const DeltaRuleArrays<T>& in, Index chunk, bool backward, Work work) {
  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    Workspace<T> w(in.n, padded(chunk), backward);
    for (Index i = begin; i < end; ++i) work(w, i / in.n.heads, i % in.n.heads);
  });
}

}  // namespace

Index states_by_chunk(const Sizes& n, Index chunk) {
  return n.batch * n.heads * chunks(n, chunk) * padded(n.value) * padded(n.key);
}

template <class T>
void delta_rule_by_chunk(const DeltaRuleArrays<T>& in, Index chunk,
                         const DeltaRuleOutputs<T>& out) {
  const Sizes& n = in.n;
  for_each_head(in, chunk, false, [&](Workspace<T>& w, Index b, Index h) {
    const Index head = b * n.heads + h;
    if (in.initial)
      pad_state(n, in.initial + head * n.state(), w.state);
    else
      std::ranges::fill(w.state.data, T(0));
    transpose<T>(w.value, w.key, w.state, w.state_transposed);
    for (Index c = 0; c < chunks(n, chunk); ++c) {
      if (out.states) {
        T* saved = out.states + (head * chunks(n, chunk) + c) * w.value * w.key;
        transpose<T>(w.key, w.value, w.state_transposed, {saved, w.key});
      }
      const Index first = c * chunk;
      forward_chunk(in, {b, h, first, std::min(chunk, n.time - first)}, w, out);
    }
    transpose<T>(w.key, w.value, w.state_transposed, w.state);
    unpad_state(n, w.state, out.final_state + head * n.state());
  });
}

template <class T>
void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const T* errors,
                                 const T* states, const T* output_gradient,
                                 const DeltaRuleGradients<T>& out) {
  const Sizes& n = in.n;
  for_each_head(in, chunk, true, [&](Workspace<T>& w, Index b, Index h) {
    const Index head = b * n.heads + h;
    pad_state(n, out.state + head * n.state(), w.gradient);
    for (Index c = chunks(n, chunk) - 1; c >= 0; --c) {
      const Index first = c * chunk;
      std::copy_n(states + (head * chunks(n, chunk) + c) * w.value * w.key, w.value * w.key,
                  w.state.data.data());
      backward_chunk(in, {b, h, first, std::min(chunk, n.time - first)}, errors, output_gradient, w,
                     out);
    }
    unpad_state(n, w.gradient, out.state + head * n.state());
  });
}

template void delta_rule_by_chunk(const DeltaRuleArrays<float>&, Index,
                                  const DeltaRuleOutputs<float>&);
template void delta_rule_by_chunk(const DeltaRuleArrays<double>&, Index,
                                  const DeltaRuleOutputs<double>&);
template void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<float>&, Index, const float*,
                                          const float*, const float*,
                                          const DeltaRuleGradients<float>&);
template void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<double>&, Index, const double*,
                                          const double*, const double*,
                                          const DeltaRuleGradients<double>&);

}  // namespace vla
