// The inverse penalty in chunks of tokens: the formulas of chunk_inverse.hpp, without forgetting.
//
// The tokens of a sequence and head are cut into segments of a few chunks. M where they begin comes
// from sums in float64, A from its inverse, and from there on a block of threads goes over a
// segment's chunks. Sums over all vectors of tokens go by slices of a few.

#include "models/vla/inverse_penalty_cuda.hpp"
#include "models/vla/penalty.cuh"

namespace vla::cuda {
namespace {

constexpr Index kRows = 64;  // directions of a chunk, and vectors of a slice, at most
constexpr Index kChunksPerSegment = 8;

// How the tokens are cut, the same for every sequence and head.
struct Plan {
  Index chunk;   // tokens
  Index chunks;  // of a head
  Index segments;
  Index rows;  // directions of a chunk, and rows of what holds them or a slice

  template <class T>
  explicit Plan(const PenaltyArrays<T>& in) {
    const PenaltySizes& n = in.n;
    const Index rank = std::max<Index>(n.rank, 1), most = std::max<Index>(kRows / rank, 1);
    chunk = in.chunk > 0 ? std::min(in.chunk, most) : most;
    chunks = (n.time + chunk - 1) / chunk;
    segments = (chunks + kChunksPerSegment - 1) / kChunksPerSegment;
    rows = std::max(kRows, n.rank);
  }
};

// Rows `from` .. `from + rows - 1` of the vectors of a run of tokens, `each` to a token. They are
// checked, for `problem`.
template <class T>
__device__ void gather(const PenaltyArrays<T>& in, const PenaltyPlace& at, Index first, Index from,
                       Index rows, Index each, const T* x, const Block<T>& into, Problem problem) {
  const Index d = in.n.width;
  const int per_token = static_cast<int>(each), begin = static_cast<int>(from);
  for_elements(rows, d, [&](int i, int j) {
    const int row = begin + i;
    const Index token = first + row / per_token;
    const T value = x[(in.place(at.b, token, at.h) * each + row % per_token) * d + j];
    if (!isfinite(value)) at.found(problem, token);
    into(i, j) = value;
  });
}

// The directions of a chunk and their weights, checked.
template <class T>
__device__ void gather_directions(const PenaltyArrays<T>& in, const PenaltyPlace& at, Index first,
                                  Index count, const Block<T>& u, T* weights) {
  gather(in, at, first, 0, count * in.n.rank, in.n.rank, in.directions, u,
         Problem::penalty_direction);
  for_each(count * in.n.rank, [&](Index i) {
    const Index token = first + i / in.n.rank;
    const T weight = in.weight(in.place(at.b, token, at.h), i % in.n.rank);
    if (!(weight >= 0)) at.found(Problem::penalty_weight, token, weight);
    weights[i] = weight;
  });
}

// sums (B H, segments, d, d) <- sum of w u u^T over each segment.
struct SumLayout {
  Place u, weights;
};
template <class T>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const PenaltyArrays<T> in, const Plan plan, double* sums, const SumLayout layout,
               const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width;
  const Block<T> u{memory.at<T>(layout.u), int(stride_for(d))};
  T* weights = memory.at<T>(layout.weights);
  for (Index i = blockIdx.x; i < n.batch * n.heads * plan.segments; i += gridDim.x) {
    const Index head = i / plan.segments, segment = i % plan.segments;
    const PenaltyPlace at{note, head / n.heads, head % n.heads};
    double* sum = sums + i * d * d;
    const Index begin = segment * kChunksPerSegment;
    const Index end = min(begin + kChunksPerSegment, plan.chunks);
    for (Index c = begin; c < end; ++c) {
      const Index first = c * plan.chunk, count = min(plan.chunk, n.time - first);
      __syncthreads();
      gather_directions(in, at, first, count, u, weights);
      __syncthreads();
      block_multiply<double>(
          d, d, count * n.rank,
          [&](int row, int p) { return double(weights[p]) * double(u(p, row)); },
          [&](Index p, Index column) { return double(u(p, column)); },
          [&](Index row, Index column, double part) {
            sum[row * d + column] = c == begin ? part : sum[row * d + column] + part;
          });
    }
  }
}

// sums <- M where each segment begins; and the state after the last.
template <class T>
__global__ void scan_kernel(const PenaltyArrays<T> in, const Plan plan, double* sums,
                            const PenaltyStateArrays last, ProblemNote* note) {
  const Index d = in.n.width, area = d * d;
  for (Index i = thread_index(); i < in.n.batch * in.n.heads * area; i += thread_total()) {
    const Index head = i / area, element = i % area;
    const double lambda0 = in.lambda0[head % in.n.heads];
    double m = element % (d + 1) == 0 ? lambda0 : 0;
    if (in.initial_penalty) m = in.initial_penalty[i];
    if (element == 0) {
      PenaltyPlace{note, head / in.n.heads, head % in.n.heads}.check_lambda0(lambda0);
      // Without forgetting nothing is ever given back.
      last.kept[head] = in.initial_kept ? in.initial_kept[head] : 1;
    }
    for (Index segment = 0; segment < plan.segments; ++segment) {
      double& sum = sums[(head * plan.segments + segment) * area + element];
      const double own = sum;
      sum = m;
      m += own;
    }
    last.penalty[i] = m;
  }
}

// starts (B H, segments, d, d) <- M^-1.
struct InvertLayout {
  Place m, row, column;
};
template <class T>
__global__ void __launch_bounds__(kThreads)
    invert_kernel(const PenaltyArrays<T> in, const Plan plan, const double* penalties, T* starts,
                  const InvertLayout layout, const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width, stride = stride_for(d);
  double* m = memory.at<double>(layout.m);
  for (Index i = blockIdx.x; i < n.batch * n.heads * plan.segments; i += gridDim.x) {
    const Index head = i / plan.segments, segment = i % plan.segments;
    T* start = starts + i * d * d;
    if (segment == 0 && !in.initial_penalty) {
      const double grown = 1 / double(in.lambda0[head % n.heads]);
      for_each(d * d, [&](Index j) { start[j] = j % (d + 1) == 0 ? T(grown) : T(0); });
      continue;
    }
    __syncthreads();  // the last inverse may still be read
    copy_rows(d, d, penalties + i * d * d, d, m, stride);
    const bool positive = invert_in_place(d, m, stride, memory.at<double>(layout.row),
                                          memory.at<double>(layout.column));
    if (!positive && threadIdx.x == 0)
      PenaltyPlace{note, head / n.heads, head % n.heads}.found(
          Problem::penalty_not_definite, segment * kChunksPerSegment * plan.chunk);
    copy_rows(d, d, m, stride, start, d);
  }
}

// What a block works with on a segment: A; the directions of a chunk, their z, and one more set of
// rows; C and other products (rows, rows).
struct Layout {
  Place weights, gains, deltas;
  Place products, z, x, a;
  Place y, h;  // backward
};
template <class T>
Layout layout_of(Room& room, const PenaltySizes& n, const Plan& plan, bool backward) {
  const Index vectors = plan.rows * stride_for(n.width);
  Layout at;
  at.weights = room.take<T>(plan.rows);
  at.gains = room.take<T>(plan.rows);
  at.deltas = room.take<T>(plan.rows);
  at.products = room.take<T>(plan.rows * stride_for(plan.rows));
  at.z = room.take<T>(vectors);
  at.x = room.take<T>(vectors);
  if (backward) {
    at.y = room.take<T>(vectors);
    at.h = room.take<T>(vectors);
  }
  at.a = room.take<T>(n.width * stride_for(n.width));
  return at;
}

template <class T>
struct Workspace {
  T *weights, *gains, *deltas;
  Block<T> products, z, x, a;

  __device__ Workspace(const PenaltySizes& n, const Plan& plan, const Layout& layout,
                       const BlockMemory& memory)
      : weights(memory.at<T>(layout.weights)),
        gains(memory.at<T>(layout.gains)),
        deltas(memory.at<T>(layout.deltas)),
        products{memory.at<T>(layout.products), int(stride_for(plan.rows))},
        z{memory.at<T>(layout.z), int(stride_for(n.width))},
        x{memory.at<T>(layout.x), int(stride_for(n.width))},
        a{memory.at<T>(layout.a), int(stride_for(n.width))} {}

  // z, f and delta of a chunk's directions, which are in x with their weights: elimination in
  // C = U A U^T gives u_t.z_s below the diagonal. The row at which M is not positive definite or
  // not finite, or -1; the same in every thread.
  __device__ int solve(int rows, int d) const {
    block_multiply<T>(
        rows, d, d, [&](int i, int p) { return x(i, p); }, [&](int p, int j) { return a(p, j); },
        [&](int i, int j, T sum) { z(i, j) = sum; });
    __syncthreads();
    block_multiply<T>(
        rows, rows, d, [&](int i, int p) { return z(i, p); }, [&](int p, int j) { return x(j, p); },
        [&](int i, int j, T sum) { products(i, j) = sum; });
    __syncthreads();
    int bad = -1;
    constexpr int kSide = 16;
    const int ty = static_cast<int>(threadIdx.x) / kSide,
              tx = static_cast<int>(threadIdx.x) % kSide;
    for (int s = 0; s < rows; ++s) {
      const T delta = 1 + weights[s] * products(s, s), gain = weights[s] / delta;
      if (bad < 0 && !(delta > 0 && isfinite(delta))) bad = s;
      if (threadIdx.x == 0) {
        deltas[s] = delta;
        gains[s] = gain;
      }
      // C is symmetric: only what is on and below the diagonal is kept.
      for (int t = s + 1 + ty; t < rows; t += kSide) {
        const T factor = gain * products(t, s);
        for (int j = s + 1 + tx; j <= t; j += kSide) products(t, j) -= factor * products(j, s);
      }
      __syncthreads();
    }
    for_elements(rows, rows, [&](int i, int j) { products(i, j) *= gains[j]; });
    __syncthreads();
    solve_unit_lower<false>(rows, d, products.data, products.stride, z.data, z.stride);
    return bad;
  }

  // Writes y = A_t x_t, by write(row, column, value), for vectors `from` .. `from + count - 1` of a
  // chunk, which are in x, with `each` a token. Afterwards `add` gets what is to be added.
  template <class Write, class Add>
  __device__ void apply(const PenaltySizes& n, Index rows, Index from, Index count, Write write,
                        Add add) const {
    const Index d = n.width;
    const int begin = static_cast<int>(from), vectors = static_cast<int>(n.vectors),
              rank = static_cast<int>(n.rank);
    block_multiply<T>(
        count, rows, d, [&](int i, int p) { return x(i, p); },
        [&](int p, int j) { return z(j, p); },
        [&](int i, int j, T sum) {
          // Only directions of tokens up to the vector's own.
          const bool seen = j < ((begin + i) / vectors + 1) * rank;
          products(i, j) = seen ? gains[j] * sum : T(0);
        });
    block_multiply<T>(
        count, d, d, [&](int i, int p) { return x(i, p); }, [&](int p, int j) { return a(p, j); },
        write);
    __syncthreads();
    block_multiply<T>(
        count, d, rows, [&](int i, int p) { return products(i, p); },
        [&](int p, int j) { return z(p, j); }, [&](int i, int j, T sum) { add(i, j, -sum); });
  }

  // A past the chunk.
  __device__ void advance(Index rows, Index d) const {
    __syncthreads();
    block_multiply<T>(
        d, d, rows, [&](int i, int p) { return gains[p] * z(p, i); },
        [&](int p, int j) { return z(p, j); }, [&](int i, int j, T sum) { a(i, j) -= sum; });
  }
};

// Which of the arrays over all tokens' vectors has row `row` of a chunk.
template <class T>
__device__ Index vector_at(const PenaltyArrays<T>& in, const PenaltyPlace& at, Index first,
                           Index row) {
  const Index n = in.n.vectors;
  return (in.place(at.b, first + row / n, at.h) * n + row % n) * in.n.width;
}

// all_z (B H, T r, d) and all_gains (B H, T r) may be null. With `own` the directions are the
// vectors.
template <class T>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(const PenaltyArrays<T> in, const Plan plan, const bool own, const T* starts,
                 const T* x, T* y, T* all_z, T* all_gains, const Layout layout,
                 const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width;
  const Workspace<T> w(n, plan, layout, memory);
  for (Index i = blockIdx.x; i < n.batch * n.heads * plan.segments; i += gridDim.x) {
    const Index head = i / plan.segments, segment = i % plan.segments;
    const PenaltyPlace at{note, head / n.heads, head % n.heads};
    const Index begin = segment * kChunksPerSegment;
    const Index end = min(begin + kChunksPerSegment, plan.chunks);
    __syncthreads();  // the last segment's A may still be read
    for_elements(d, d, [&](int r, int j) { w.a(r, j) = starts[(i * d + r) * d + j]; });
    for (Index c = begin; c < end; ++c) {
      const Index first = c * plan.chunk, count = min(plan.chunk, n.time - first);
      const Index rows = count * n.rank, first_row = head * n.time * n.rank + first * n.rank;
      __syncthreads();
      gather_directions(in, at, first, count, w.x, w.weights);
      __syncthreads();
      const Index bad = w.solve(rows, d);
      if (bad >= 0 && threadIdx.x == 0)
        at.found(Problem::penalty_not_definite, first + bad / n.rank);
      if (all_z) {
        for_elements(rows, d, [&](int r, int j) { all_z[(first_row + r) * d + j] = w.z(r, j); });
        for_each(rows, [&](Index j) { all_gains[first_row + j] = w.gains[j]; });
      }
      if (own) {
        for_elements(rows, d, [&](int r, int j) {
          y[vector_at(in, at, first, r) + j] = w.z(r, j) / w.deltas[r];
        });
      } else {
        for (Index from = 0; from < count * n.vectors; from += kRows) {
          const Index vectors = min(kRows, count * n.vectors - from);
          __syncthreads();
          gather(in, at, first, from, vectors, n.vectors, x, w.x, Problem::penalty_vector);
          __syncthreads();
          w.apply(
              n, rows, from, vectors,
              [&](int row, int j, T sum) { y[vector_at(in, at, first, from + row) + j] = sum; },
              [&](int row, int j, T sum) { y[vector_at(in, at, first, from + row) + j] += sum; });
        }
      }
      w.advance(rows, d);
    }
  }
}

// out.x <- h = A g, and sums (B H, chunks, d, d) <- sum of h y^T + y h^T over each chunk.
template <class T>
__global__ void __launch_bounds__(kThreads)
    solve_kernel(const PenaltyArrays<T> in, const Plan plan, const T* starts, const T* all_z,
                 const T* all_gains, const T* y, const T* upstream, T* dx, T* sums,
                 const Layout layout, const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width;
  const Workspace<T> w(n, plan, layout, memory);
  const Block<T> ys{memory.at<T>(layout.y), int(stride_for(d))},
      hs{memory.at<T>(layout.h), ys.stride};
  for (Index i = blockIdx.x; i < n.batch * n.heads * plan.segments; i += gridDim.x) {
    const Index head = i / plan.segments, segment = i % plan.segments;
    const PenaltyPlace at{note, head / n.heads, head % n.heads};
    const Index begin = segment * kChunksPerSegment;
    const Index end = min(begin + kChunksPerSegment, plan.chunks);
    __syncthreads();  // the last segment's A may still be read
    for_elements(d, d, [&](int r, int j) { w.a(r, j) = starts[(i * d + r) * d + j]; });
    for (Index c = begin; c < end; ++c) {
      const Index first = c * plan.chunk, count = min(plan.chunk, n.time - first);
      const Index rows = count * n.rank, first_row = head * n.time * n.rank + first * n.rank;
      T* sum = sums + (head * plan.chunks + c) * d * d;
      __syncthreads();
      for_elements(rows, d, [&](int r, int j) { w.z(r, j) = all_z[(first_row + r) * d + j]; });
      for_each(rows, [&](Index j) { w.gains[j] = all_gains[first_row + j]; });
      if (n.vectors == 0) for_each(d * d, [&](Index j) { sum[j] = 0; });
      for (Index from = 0; from < count * n.vectors; from += kRows) {
        const Index vectors = min(kRows, count * n.vectors - from);
        __syncthreads();
        gather(in, at, first, from, vectors, n.vectors, upstream, w.x, Problem::penalty_upstream);
        gather(in, at, first, from, vectors, n.vectors, y, ys, Problem::penalty_vector);
        __syncthreads();
        w.apply(
            n, rows, from, vectors, [&](Index row, Index j, T h) { hs(row, j) = h; },
            [&](Index row, Index j, T h) {
              hs(row, j) += h;
              dx[vector_at(in, at, first, from + row) + j] = hs(row, j);
            });
        __syncthreads();
        block_multiply<T>(
            d, d, 2 * vectors,
            [&](int row, int p) { return p < vectors ? hs(p, row) : ys(p - vectors, row); },
            [&](int p, int j) { return p < vectors ? ys(p, j) : hs(p - vectors, j); },
            [&](Index row, Index j, T part) {
              sum[row * d + j] = from == 0 ? part : sum[row * d + j] + part;
            });
      }
      w.advance(rows, d);
    }
  }
}

// sums <- those of all later chunks.
template <class T>
__global__ void suffix_kernel(Index heads, Index chunks, Index area, T* sums) {
  for (Index i = thread_index(); i < heads * area; i += thread_total()) {
    double later = 0;
    for (Index c = chunks - 1; c >= 0; --c) {
      T& sum = sums[(i / area * chunks + c) * area + i % area];
      const T own = sum;
      sum = static_cast<T>(later);
      later += own;
    }
  }
}

// Gradients of directions and weights, a block for each chunk: with y and h of its vectors and E,
// the sum of all later chunks, -r = U E + (U Y^T, from a direction's token on) H + (U H^T,
// likewise) Y.
struct DirectionLayout {
  Place weights, u, r, y, h, products, more;
};
template <class T>
__global__ void __launch_bounds__(kThreads)
    directions_kernel(const PenaltyArrays<T> in, const Plan plan, const T* y, const T* later,
                      const PenaltyGradients<T> out, const DirectionLayout layout,
                      const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width;
  const int stride = static_cast<int>(stride_for(d));
  T* weights = memory.at<T>(layout.weights);
  const Block<T> u{memory.at<T>(layout.u), stride}, r{memory.at<T>(layout.r), stride};
  const Block<T> ys{memory.at<T>(layout.y), stride}, hs{memory.at<T>(layout.h), stride};
  const Block<T> with_y{memory.at<T>(layout.products), int(stride_for(kRows))};
  const Block<T> with_h{memory.at<T>(layout.more), int(stride_for(kRows))};
  for (Index i = blockIdx.x; i < n.batch * n.heads * plan.chunks; i += gridDim.x) {
    const Index head = i / plan.chunks, first = i % plan.chunks * plan.chunk;
    const Index count = min(plan.chunk, n.time - first), rows = count * n.rank;
    const PenaltyPlace at{note, head / n.heads, head % n.heads};
    const T* e = later + i * d * d;
    __syncthreads();  // the last chunk's arrays may still be read
    gather_directions(in, at, first, count, u, weights);
    __syncthreads();
    block_multiply<T>(
        rows, d, d, [&](int row, int p) { return u(row, p); },
        [&](int p, int j) { return e[p * d + j]; },
        [&](int row, int j, T sum) { r(row, j) = -sum; });
    for (Index from = 0; from < count * n.vectors; from += kRows) {
      const Index vectors = min(kRows, count * n.vectors - from);
      __syncthreads();
      gather(in, at, first, from, vectors, n.vectors, y, ys, Problem::penalty_vector);
      gather(in, at, first, from, vectors, n.vectors, static_cast<const T*>(out.x), hs,
             Problem::penalty_upstream);
      __syncthreads();
      const auto pair = [&](const Block<T>& others, const Block<T>& into) {
        block_multiply<T>(
            rows, vectors, d, [&](int row, int p) { return u(row, p); },
            [&](int p, int j) { return others(j, p); },
            [&](int row, int j, T sum) {
              into(row, j) = from + j >= row / n.rank * n.vectors ? sum : T(0);
            });
      };
      pair(ys, with_y);
      pair(hs, with_h);
      __syncthreads();
      block_multiply<T>(
          rows, d, vectors, [&](int row, int p) { return with_y(row, p); },
          [&](int p, int j) { return hs(p, j); }, [&](int row, int j, T sum) { r(row, j) -= sum; });
      block_multiply<T>(
          rows, d, vectors, [&](int row, int p) { return with_h(row, p); },
          [&](int p, int j) { return ys(p, j); }, [&](int row, int j, T sum) { r(row, j) -= sum; });
    }
    __syncthreads();
    for_rows(rows, d, [&](const RowPart& part) {
      const Index row = std::min<Index>(part.row, rows - 1), token = first + row / n.rank;
      const Index place = in.place(at.b, token, at.h) * n.rank + row % n.rank;
      double along = 0;
      for (Index j = part.begin; j < part.end; ++j) {
        along += double(u(part.row, j)) * double(r(part.row, j));
        out.directions[place * d + j] = weights[part.row] * r(part.row, j);
      }
      along = part.sum(along);
      if (part.leads && out.weights) out.weights[place] = static_cast<T>(along / 2);
    });
  }
}

// The gradient of lambda0, minus the sum of h.y over all tokens; of a given M it is 0.
template <class T>
__global__ void __launch_bounds__(kThreads)
    lambda0_kernel(const PenaltyArrays<T> in, const T* y, const PenaltyGradients<T> out) {
  const PenaltySizes& n = in.n;
  const Index area = n.vectors * n.width;
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    double sum = 0;
    for_each(n.time * area, [&](Index i) {
      const Index at = in.place(head / n.heads, i / area, head % n.heads) * area + i % area;
      sum += double(out.x[at]) * double(y[at]);
    });
    sum = sum_of_team<kThreads>(sum);
    if (threadIdx.x == 0) out.lambda0[head] = in.initial_penalty ? T(0) : T(-sum);
  }
}

}  // namespace

template <class T>
void apply_by_chunk(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last,
                    PenaltyFactors* factors, Device device) {
  const PenaltySizes& n = in.n;
  const Plan plan(in);
  const Index heads = n.batch * n.heads, segments = heads * plan.segments, d = n.width;
  ProblemNote* note = problem_note(device);
  const Launch launch("inverse_penalty", device);
  Tensor penalties({segments, d, d}, DType::float64, device);
  Tensor starts({segments, d, d}, dtype_of<T>(), device);
  double* m = penalties.mutable_data<double>();
  {
    Room room(device);
    const SumLayout layout{room.take<T>(plan.rows * stride_for(d)), room.take<T>(plan.rows)};
    const Blocks blocks = room.blocks(segments);
    launch(sum_kernel<T>, blocks.grid, in, plan, m, layout, blocks.memory, note);
  }
  launch(scan_kernel<T>, grid_for(heads * d * d), in, plan, m, last, note);
  {
    Room room(device);
    const InvertLayout layout{room.take<double>(d * stride_for(d)), room.take<double>(d),
                              room.take<double>(d)};
    const Blocks blocks = room.blocks(segments);
    launch(invert_kernel<T>, blocks.grid, in, plan, m, starts.mutable_data<T>(), layout,
           blocks.memory, note);
  }
  T *all_z = nullptr, *all_gains = nullptr;
  if (factors) {
    *factors = {Tensor({heads, n.time * n.rank, d}, dtype_of<T>(), device),
                Tensor({heads, n.time * n.rank}, dtype_of<T>(), device), starts};
    all_z = factors->z.mutable_data<T>();
    all_gains = factors->gains.mutable_data<T>();
  }
  const bool own = x == in.directions && n.vectors == 1 && n.rank == 1;
  Room room(device);
  const Layout layout = layout_of<T>(room, n, plan, false);
  const Blocks blocks = room.blocks(segments);
  launch(apply_kernel<T>, blocks.grid, in, plan, own, starts.data<T>(), x, y, all_z, all_gains,
         layout, blocks.memory, note);
}

template <class T>
void adjoint_by_chunk(const PenaltyArrays<T>& in, const T* x, const T* y, const T* upstream,
                      const PenaltyFactors& factors, const PenaltyGradients<T>& out,
                      Device device) {
  const PenaltySizes& n = in.n;
  const Plan plan(in);
  const Index heads = n.batch * n.heads, d = n.width;
  ProblemNote* note = problem_note(device);
  const Launch launch("inverse_penalty gradient", device);
  Tensor sums({heads * plan.chunks, d, d}, dtype_of<T>(), device);
  T* later = sums.mutable_data<T>();
  {
    Room room(device);
    const Layout layout = layout_of<T>(room, n, plan, true);
    const Blocks blocks = room.blocks(heads * plan.segments);
    launch(solve_kernel<T>, blocks.grid, in, plan, factors.starts.data<T>(), factors.z.data<T>(),
           factors.gains.data<T>(), y, upstream, out.x, later, layout, blocks.memory, note);
  }
  launch(suffix_kernel<T>, grid_for(heads * d * d), heads, plan.chunks, d * d, later);
  {
    Room room(device);
    const Index vectors = plan.rows * stride_for(d), products = plan.rows * stride_for(kRows);
    const DirectionLayout layout{room.take<T>(plan.rows), room.take<T>(vectors),
                                 room.take<T>(vectors),   room.take<T>(vectors),
                                 room.take<T>(vectors),   room.take<T>(products),
                                 room.take<T>(products)};
    const Blocks blocks = room.blocks(heads * plan.chunks);
    launch(directions_kernel<T>, blocks.grid, in, plan, y, later, out, layout, blocks.memory, note);
  }
  launch(lambda0_kernel<T>, Grid{dim3(static_cast<unsigned>(std::min<Index>(heads, 1 << 20)))}, in,
         y, out);
}

template void apply_by_chunk(const PenaltyArrays<float>&, const float*, float*, PenaltyStateArrays,
                             PenaltyFactors*, Device);
template void apply_by_chunk(const PenaltyArrays<double>&, const double*, double*,
                             PenaltyStateArrays, PenaltyFactors*, Device);
template void adjoint_by_chunk(const PenaltyArrays<float>&, const float*, const float*,
                               const float*, const PenaltyFactors&, const PenaltyGradients<float>&,
                               Device);
template void adjoint_by_chunk(const PenaltyArrays<double>&, const double*, const double*,
                               const double*, const PenaltyFactors&,
                               const PenaltyGradients<double>&, Device);

}  // namespace vla::cuda
