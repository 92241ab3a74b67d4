// The formulas of delta_rule_chunk.cpp, a block of threads for each sequence and head.

#include "models/block.cuh"
#include "models/delta_rule_cuda.hpp"

namespace vla::cuda {
namespace {

using Sizes = DeltaRuleSizes;

// Where a block's arrays are; those of a chunk's tokens have a row for each.
struct Layout {
  Place state, alpha, k, e, products;
  Place q, g, dv, more_products;  // backward, where `state` has the gradient of S
};

template <class T>
Layout layout_of(Room& room, const Sizes& n, Index chunk, bool backward) {
  const Index keys = chunk * stride_for(n.key), values = chunk * stride_for(n.value);
  Layout at;
  at.products = room.take<T>(chunk * stride_for(chunk));
  at.e = room.take<T>(values);
  if (backward) {
    at.more_products = room.take<T>(chunk * stride_for(chunk));
    at.dv = room.take<T>(values);
    at.g = room.take<T>(values);
  }
  at.alpha = room.take<T>(keys);
  at.k = room.take<T>(keys);
  if (backward) at.q = room.take<T>(keys);
  at.state = room.take<T>(n.value * stride_for(n.key));
  return at;
}

// Which of a chunk's tokens are meant: those of one head, `count` from `first` on.
struct Tokens {
  Index b, h, first, count;
};

template <class T>
__device__ void gather(const DeltaRuleArrays<T>& in, const Tokens& at, const T* x, Index width,
                       const Block<T>& into) {
  for_elements(at.count, width, [&](int t, int j) {
    into(t, j) = x[in.place(at.b, at.first + t, at.h) * width + j];
  });
}

template <class T>
__device__ T* row_of(const DeltaRuleArrays<T>& in, const Tokens& at, T* x, Index width, Index t) {
  return x + in.place(at.b, at.first + t, at.h) * width;
}

// products (n, n) <- rows others^T below the diagonal, and on it unless `strict`; zeros elsewhere.
template <class T>
__device__ void lower_products(Index n, Index width, bool strict, const Block<T>& rows,
                               const Block<T>& others, const Block<T>& products) {
  block_multiply<T>(
      n, n, width, [&](int i, int p) { return rows(i, p); },
      [&](int p, int j) { return others(j, p); },
      [&](int i, int j, T sum) { products(i, j) = j < i || (j == i && !strict) ? sum : T(0); });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const DeltaRuleArrays<T> in, const Index chunk, const DeltaRuleOutputs<T> out,
                   const Layout layout, const BlockMemory memory) {
  const Sizes& n = in.n;
  const Index chunks = (n.time + chunk - 1) / chunk;
  const Block<T> s{memory.at<T>(layout.state), int(stride_for(n.key))};
  const Block<T> alpha{memory.at<T>(layout.alpha), int(stride_for(n.key))};
  const Block<T> k{memory.at<T>(layout.k), int(stride_for(n.key))};  // then q
  const Block<T> e{memory.at<T>(layout.e), int(stride_for(n.value))};
  const Block<T> products{memory.at<T>(layout.products), int(stride_for(chunk))};
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    __syncthreads();  // the last head's S may still be read
    for_elements(n.value, n.key, [&](int i, int j) {
      s(i, j) = in.initial ? in.initial[head * n.state() + i * n.key + j] : T(0);
    });
    for (Index c = 0; c < chunks; ++c) {
      const Tokens at{b, h, c * chunk, min(chunk, n.time - c * chunk)};
      __syncthreads();
      if (out.states)
        for_elements(n.value, n.key, [&](int i, int j) {
          out.states[(head * chunks + c) * n.state() + i * n.key + j] = s(i, j);
        });
      gather(in, at, in.alpha, n.key, alpha);
      gather(in, at, in.v, n.value, e);
      if (in.k) {
        gather(in, at, in.k, n.key, k);
        __syncthreads();
        lower_products(at.count, n.key, true, k, alpha, products);
        block_multiply<T>(
            at.count, n.value, n.key, [&](int i, int p) { return k(i, p); },
            [&](int p, int j) { return s(j, p); }, [&](int i, int j, T sum) { e(i, j) -= sum; });
        __syncthreads();
        solve_unit_lower<false>(at.count, n.value, products.data, products.stride, e.data,
                                e.stride);
        if (out.errors)
          for_elements(at.count, n.value,
                       [&](int t, int j) { row_of(in, at, out.errors, n.value, t)[j] = e(t, j); });
      }
      const Block<T>& q = k;
      gather(in, at, in.q, n.key, q);
      __syncthreads();
      lower_products(at.count, n.key, false, q, alpha, products);
      block_multiply<T>(
          at.count, n.value, n.key, [&](int i, int p) { return q(i, p); },
          [&](int p, int j) { return s(j, p); },
          [&](int i, int j, T sum) { row_of(in, at, out.o, n.value, i)[j] = sum; });
      __syncthreads();
      block_multiply<T>(
          at.count, n.value, at.count, [&](int i, int p) { return products(i, p); },
          [&](int p, int j) { return e(p, j); },
          [&](int i, int j, T sum) { row_of(in, at, out.o, n.value, i)[j] += sum; });
      block_multiply<T>(
          n.value, n.key, at.count, [&](int i, int p) { return e(p, i); },
          [&](int p, int j) { return alpha(p, j); }, [&](int i, int j, T sum) { s(i, j) += sum; });
    }
    __syncthreads();
    for_elements(n.value, n.key, [&](int i, int j) {
      out.final_state[head * n.state() + i * n.key + j] = s(i, j);
    });
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const DeltaRuleArrays<T> in, const Index chunk, const T* errors,
                    const T* states, const T* output_gradient, const DeltaRuleGradients<T> out,
                    const Layout layout, const BlockMemory memory) {
  const Sizes& n = in.n;
  const Index chunks = (n.time + chunk - 1) / chunk;
  const Block<T> d{memory.at<T>(layout.state), int(stride_for(n.key))};
  const Block<T> alpha{memory.at<T>(layout.alpha), int(stride_for(n.key))};
  const Block<T> k{memory.at<T>(layout.k), int(stride_for(n.key))};
  const Block<T> q{memory.at<T>(layout.q), int(stride_for(n.key))};
  const Block<T> e{memory.at<T>(layout.e), int(stride_for(n.value))};
  const Block<T> g{memory.at<T>(layout.g), int(stride_for(n.value))};
  const Block<T> dv{memory.at<T>(layout.dv), int(stride_for(n.value))};
  const Block<T> products{memory.at<T>(layout.products), int(stride_for(chunk))};
  const Block<T> more{memory.at<T>(layout.more_products), int(stride_for(chunk))};
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    T* state_gradient = out.state + head * n.state();
    __syncthreads();  // the last head's D may still be read
    for_elements(n.value, n.key, [&](int i, int j) { d(i, j) = state_gradient[i * n.key + j]; });
    for (Index c = chunks - 1; c >= 0; --c) {
      const Tokens at{b, h, c * chunk, min(chunk, n.time - c * chunk)};
      const T* s = states + (head * chunks + c) * n.state();
      const Index count = at.count;
      __syncthreads();
      gather(in, at, in.alpha, n.key, alpha);
      gather(in, at, in.q, n.key, q);
      if (in.k) gather(in, at, in.k, n.key, k);
      gather(in, at, errors, n.value, e);
      gather(in, at, output_gradient, n.value, g);
      __syncthreads();
      lower_products(count, n.key, false, q, alpha, products);
      lower_products(count, n.value, false, g, e, more);
      block_multiply<T>(
          count, n.value, n.key, [&](int i, int p) { return alpha(i, p); },
          [&](int p, int j) { return d(j, p); }, [&](int i, int j, T sum) { dv(i, j) = sum; });
      __syncthreads();
      block_multiply<T>(
          count, n.value, count, [&](int i, int p) { return products(p, i); },
          [&](int p, int j) { return g(p, j); }, [&](int i, int j, T sum) { dv(i, j) += sum; });
      block_multiply<T>(
          count, n.key, n.value, [&](int i, int p) { return g(i, p); },
          [&](int p, int j) { return s[p * n.key + j]; },
          [&](int i, int j, T sum) { row_of(in, at, out.q, n.key, i)[j] = sum; });
      block_multiply<T>(
          count, n.key, count, [&](int i, int p) { return more(i, p); },
          [&](int p, int j) { return alpha(p, j); },
          [&](int i, int j, T sum) { row_of(in, at, out.q, n.key, i)[j] += sum; });
      block_multiply<T>(
          count, n.key, n.value, [&](int i, int p) { return e(i, p); },
          [&](int p, int j) { return d(p, j); },
          [&](int i, int j, T sum) { row_of(in, at, out.alpha, n.key, i)[j] = sum; });
      block_multiply<T>(
          count, n.key, count, [&](int i, int p) { return more(p, i); },
          [&](int p, int j) { return q(p, j); },
          [&](int i, int j, T sum) { row_of(in, at, out.alpha, n.key, i)[j] += sum; });
      __syncthreads();
      if (in.k) {
        lower_products(count, n.key, true, k, alpha, products);
        __syncthreads();
        solve_unit_lower<true>(count, n.value, products.data, products.stride, dv.data, dv.stride);
        lower_products(count, n.value, true, dv, e, more);
        block_multiply<T>(
            count, n.key, n.value, [&](int i, int p) { return dv(i, p); },
            [&](int p, int j) { return s[p * n.key + j]; },
            [&](int i, int j, T sum) { row_of(in, at, out.k, n.key, i)[j] = -sum; });
        __syncthreads();
        block_multiply<T>(
            count, n.key, count, [&](int i, int p) { return more(i, p); },
            [&](int p, int j) { return alpha(p, j); },
            [&](int i, int j, T sum) { row_of(in, at, out.k, n.key, i)[j] -= sum; });
        block_multiply<T>(
            count, n.key, count, [&](int i, int p) { return more(p, i); },
            [&](int p, int j) { return k(p, j); },
            [&](int i, int j, T sum) { row_of(in, at, out.alpha, n.key, i)[j] -= sum; });
        block_multiply<T>(
            n.value, n.key, count, [&](int i, int p) { return dv(p, i); },
            [&](int p, int j) { return k(p, j); }, [&](int i, int j, T sum) { d(i, j) -= sum; });
      }
      block_multiply<T>(
          n.value, n.key, count, [&](int i, int p) { return g(p, i); },
          [&](int p, int j) { return q(p, j); }, [&](int i, int j, T sum) { d(i, j) += sum; });
      for_elements(count, n.value,
                   [&](int t, int j) { row_of(in, at, out.v, n.value, t)[j] = dv(t, j); });
    }
    __syncthreads();
    for_elements(n.value, n.key, [&](int i, int j) { state_gradient[i * n.key + j] = d(i, j); });
  }
}

}  // namespace

template <class T>
void delta_rule_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const DeltaRuleOutputs<T>& out,
                         Device device) {
  Room room(device);
  const Layout layout = layout_of<T>(room, in.n, chunk, false);
  const Blocks blocks = room.blocks(in.n.batch * in.n.heads);
  Launch("delta_rule", device)(forward_kernel<T>, blocks.grid, in, chunk, out, layout,
                               blocks.memory);
}

template <class T>
void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<T>& in, Index chunk, const T* errors,
                                 const T* states, const T* output_gradient,
                                 const DeltaRuleGradients<T>& out, Device device) {
  Room room(device);
  const Layout layout = layout_of<T>(room, in.n, chunk, true);
  const Blocks blocks = room.blocks(in.n.batch * in.n.heads);
  Launch("delta_rule gradient", device)(backward_kernel<T>, blocks.grid, in, chunk, errors, states,
                                        output_gradient, out, layout, blocks.memory);
}

template void delta_rule_by_chunk(const DeltaRuleArrays<float>&, Index,
                                  const DeltaRuleOutputs<float>&, Device);
template void delta_rule_by_chunk(const DeltaRuleArrays<double>&, Index,
                                  const DeltaRuleOutputs<double>&, Device);
template void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<float>&, Index, const float*,
                                          const float*, const float*,
                                          const DeltaRuleGradients<float>&, Device);
template void delta_rule_adjoint_by_chunk(const DeltaRuleArrays<double>&, Index, const double*,
                                          const double*, const double*,
                                          const DeltaRuleGradients<double>&, Device);

}  // namespace vla::cuda
