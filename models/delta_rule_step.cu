#include "models/block.cuh"
#include "models/delta_rule.hpp"
#include "models/delta_rule_cuda.hpp"

namespace vla::cuda {
namespace {

using Sizes = DeltaRuleSizes;

__host__ __device__ inline Index segments_of(const Sizes& n) {
  return (n.time + kDeltaRuleSegment - 1) / kDeltaRuleSegment;
}

// Where a block's arrays are: S, in backward S around every token of a segment, and the inputs of a
// segment, staged.
struct Layout {
  Place s, q, k, alpha, v, g;
  Place output_gradient, gradient, de;  // backward, where `v` has the errors
};

template <class T>
Layout layout_of(Room& room, const Sizes& n, bool backward) {
  constexpr Index count = kDeltaRuleSegment;
  const Index area = n.value * stride_for(n.key);
  Layout at;
  if (backward) {
    at.de = room.take<T>(n.value);
    at.gradient = room.take<T>(area);
  } else {
    at.s = room.take<T>(area);
  }
  for (Place* vectors : {&at.q, &at.k, &at.alpha}) *vectors = room.take_if_shared<T>(count * n.key);
  for (Place* vectors : {&at.v, &at.g}) *vectors = room.take_if_shared<T>(count * n.value);
  if (backward) {
    at.output_gradient = room.take_if_shared<T>(count * n.value);
    at.s = room.take<T>((count + 1) * area);
  }
  return at;
}

// The inputs of a run of tokens.
template <class T>
struct Tokens {
  Staged<T> q, k, alpha, v, g, output_gradient;
};

// v may be the errors.
template <class T>
__device__ Tokens<T> stage_tokens(const DeltaRuleArrays<T>& in, const T* v,
                                  const T* output_gradient, const Layout& layout,
                                  const BlockMemory& memory, Index b, Index h, Index first,
                                  Index count) {
  const Sizes& n = in.n;
  const Index place = in.place(b, first, h);
  const auto bring = [&](Place to, const T* x, Index width) {
    return stage(memory, to, x ? x + place * width : nullptr, n.heads * width, count, width);
  };
  return {bring(layout.q, in.q, n.key),
          bring(layout.k, in.k, n.key),
          bring(layout.alpha, in.alpha, n.key),
          bring(layout.v, v, n.value),
          bring(layout.g, in.g, n.value),
          bring(layout.output_gradient, output_gradient, n.value)};
}

// Each row of S goes its own way, so that nothing waits within a segment.
template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const DeltaRuleArrays<T> in, const DeltaRuleOutputs<T> out, const Layout layout,
                   const BlockMemory memory) {
  const Sizes& n = in.n;
  const Index stride = stride_for(n.key), segments = segments_of(n);
  T* s = memory.at<T>(layout.s);
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    if (in.initial)
      copy_rows(n.value, n.key, in.initial + head * n.state(), n.key, s, stride);
    else
      fill_rows(n.value, n.key, s, stride, T(0), T(0));
    for (Index segment = 0; segment < segments; ++segment) {
      const Index first = segment * kDeltaRuleSegment;
      const Index count = min(kDeltaRuleSegment, n.time - first);
      if (out.states)
        copy_rows(n.value, n.key, s, stride, out.states + (head * segments + segment) * n.state(),
                  n.key);
      __syncthreads();  // the last segment's inputs may still be read
      const Tokens<T> tokens = stage_tokens(in, in.v, static_cast<const T*>(nullptr), layout,
                                            memory, b, h, first, count);
      __syncthreads();
      for (Index t = 0; t < count; ++t) {
        const T *q = tokens.q.at(t), *k = tokens.k.at(t), *alpha = tokens.alpha.at(t);
        const T *v = tokens.v.at(t), *g = tokens.g.at(t);
        const Index place = in.place(b, first + t, h) * n.value;
        for_rows(n.value, n.key, [&](const RowPart& part) {
          T* row = s + part.row * stride;
          const T read = k ? part.sum(part_dot(part, row, k)) : T(0);
          T o = 0, e = 0;
          if (part.begin < part.end) {
            e = v[part.row] - read;
            const T kept = g ? g[part.row] : T(1);
#pragma unroll 4
            for (Index j = part.begin; j < part.end; ++j) {
              const T element = kept * row[j] + e * alpha[j];
              row[j] = element;
              o += element * q[j];
            }
          }
          o = part.sum(o);
          if (!part.leads) return;
          out.o[place + part.row] = o;
          if (out.errors) out.errors[place + part.row] = e;
        });
      }
    }
    copy_rows(n.value, n.key, s, stride, out.final_state + head * n.state(), n.key);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const DeltaRuleArrays<T> in, const T* errors, const T* states,
                    const T* output_gradient, const DeltaRuleGradients<T> out, const Layout layout,
                    const BlockMemory memory) {
  const Sizes& n = in.n;
  const Index stride = stride_for(n.key), segments = segments_of(n), area = n.value * stride;
  T* s = memory.at<T>(layout.s);
  T* gradient = memory.at<T>(layout.gradient);
  T* de = memory.at<T>(layout.de);
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    T* state_gradient = out.state + head * n.state();
    __syncthreads();  // the last head's arrays may still be read
    copy_rows(n.value, n.key, state_gradient, n.key, gradient, stride);
    for (Index segment = segments - 1; segment >= 0; --segment) {
      const Index first = segment * kDeltaRuleSegment;
      const Index count = min(kDeltaRuleSegment, n.time - first);
      __syncthreads();  // the last segment's arrays may still be read
      const Tokens<T> tokens =
          stage_tokens(in, errors, output_gradient, layout, memory, b, h, first, count);
      copy_rows(n.value, n.key, states + (head * segments + segment) * n.state(), n.key, s, stride);
      __syncthreads();
      for (Index t = 0; t < count; ++t) {  // S after token t is number t + 1
        const T *e = tokens.v.at(t), *alpha = tokens.alpha.at(t), *g = tokens.g.at(t);
        for_rows(n.value, n.key, [&](const RowPart& part) {
          if (part.begin == part.end) return;
          const T* row = s + t * area + part.row * stride;
          const T e_i = e[part.row], kept = g ? g[part.row] : T(1);
#pragma unroll 4
          for (Index j = part.begin; j < part.end; ++j)
            s[(t + 1) * area + part.row * stride + j] = kept * row[j] + e_i * alpha[j];
        });
      }
      for (Index t = count - 1; t >= 0; --t) {
        const T *q = tokens.q.at(t), *k = tokens.k.at(t), *alpha = tokens.alpha.at(t);
        const T *e = tokens.v.at(t), *g = tokens.g.at(t), *upstream = tokens.output_gradient.at(t);
        const T *before = s + t * area, *after = before + area;
        const Index place = in.place(b, first + t, h);
        __syncthreads();  // D and de are those of the token after, and S was just written
        for_rows(n.value, n.key, [&](const RowPart& part) {
          T* d = gradient + part.row * stride;
          const T* row = before + part.row * stride;
          const T upstream_i = part.begin < part.end ? upstream[part.row] : T(0);
          T along = 0, kept = 0;
#pragma unroll 4
          for (Index j = part.begin; j < part.end; ++j) {
            const T element = d[j] + upstream_i * q[j];
            d[j] = element;
            along += element * alpha[j];
            kept += element * row[j];
          }
          along = part.sum(along);
          if (g) kept = part.sum(kept);
          if (!part.leads) return;
          de[part.row] = along;
          out.v[place * n.value + part.row] = along;
          if (g) out.g[place * n.value + part.row] = kept;
        });
        __syncthreads();
        for_rows(n.key, n.value, [&](const RowPart& part) {  // columns of S and D
          const Index j = part.row;
          const T k_j = k && part.begin < part.end ? k[j] : T(0);
          T dq = 0, dk = 0, dalpha = 0;
#pragma unroll 4
          for (Index i = part.begin; i < part.end; ++i) {
            T& d = gradient[i * stride + j];
            dq += upstream[i] * after[i * stride + j];
            dalpha += e[i] * d;
            dk -= de[i] * before[i * stride + j];
            d = (g ? g[i] : T(1)) * d - de[i] * k_j;
          }
          dq = part.sum(dq);
          dk = part.sum(dk);
          dalpha = part.sum(dalpha);
          if (!part.leads) return;
          out.q[place * n.key + j] = dq;
          out.alpha[place * n.key + j] = dalpha;
          if (k) out.k[place * n.key + j] = dk;
        });
      }
    }
    __syncthreads();
    copy_rows(n.value, n.key, gradient, stride, state_gradient, n.key);
  }
}

}  // namespace

template <class T>
void delta_rule_by_step(const DeltaRuleArrays<T>& in, const DeltaRuleOutputs<T>& out,
                        Device device) {
  Room room(device);
  const Layout layout = layout_of<T>(room, in.n, false);
  const Blocks blocks = room.blocks(in.n.batch * in.n.heads);
  Launch("delta_rule", device)(forward_kernel<T>, blocks.grid, in, out, layout, blocks.memory);
}

template <class T>
void delta_rule_adjoint_by_step(const DeltaRuleArrays<T>& in, const T* errors, const T* states,
                                const T* output_gradient, const DeltaRuleGradients<T>& out,
                                Device device) {
  Room room(device);
  const Layout layout = layout_of<T>(room, in.n, true);
  const Blocks blocks = room.blocks(in.n.batch * in.n.heads);
  Launch("delta_rule gradient", device)(backward_kernel<T>, blocks.grid, in, errors, states,
                                        output_gradient, out, layout, blocks.memory);
}

template void delta_rule_by_step(const DeltaRuleArrays<float>&, const DeltaRuleOutputs<float>&,
                                 Device);
template void delta_rule_by_step(const DeltaRuleArrays<double>&, const DeltaRuleOutputs<double>&,
                                 Device);
template void delta_rule_adjoint_by_step(const DeltaRuleArrays<float>&, const float*, const float*,
                                         const float*, const DeltaRuleGradients<float>&, Device);
template void delta_rule_adjoint_by_step(const DeltaRuleArrays<double>&, const double*,
                                         const double*, const double*,
                                         const DeltaRuleGradients<double>&, Device);

}  // namespace vla::cuda
