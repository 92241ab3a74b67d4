#include "models/vla/inverse_penalty_cuda.hpp"
#include "models/vla/penalty.cuh"
#include "models/vla/penalty_tracker.hpp"

namespace vla::cuda {
namespace {

constexpr Index kTokens = 16;  // whose inputs are staged at once

// Where a block's arrays are.
struct Layout {
  Place a, m;                // A and M, float64
  Place z, row;              // vectors of d numbers, float64
  Place u, x, upstream;      // of a run of tokens
  Place y, h, own_u, own_x;  // of one token, in backward
};

template <class T>
Layout layout_of(Room& room, const PenaltySizes& n, bool backward) {
  const Index area = n.width * stride_for(n.width);
  Layout at;
  at.z = room.take<double>(n.width);
  at.row = room.take<double>(n.width);
  if (backward) {
    at.y = room.take<double>(n.vectors * n.width);
    at.h = room.take<double>(n.vectors * n.width);
    at.own_u = room.take<T>(n.rank * n.width);
    at.own_x = room.take<T>(n.vectors * n.width);
  }
  at.a = room.take<double>(area);
  at.u = room.take_if_shared<T>(kTokens * n.rank * n.width);
  at.x = room.take_if_shared<T>(kTokens * n.vectors * n.width);
  if (backward) at.upstream = room.take_if_shared<T>(kTokens * n.vectors * n.width);
  at.m = room.take<double>(area);
  return at;
}

// The vectors of one token are finite, or it is reported.
template <class T>
__device__ void check_finite(const PenaltyPlace& place, const T* x, Index count, Problem problem,
                             Index token) {
  for_each(count, [&](Index i) {
    if (!isfinite(x[i])) place.found(problem, token);
  });
}

// M and A along the tokens of one sequence and head; PenaltyTracker of the CPU.
template <class T>
struct Tracker {
  const PenaltyArrays<T>& in;
  PenaltyPlace place;
  Index stride;
  double *a, *m, *z, *row;
  double lambda0 = 0, kept = 1;
  Index tokens = 0;

  __device__ Tracker(const PenaltyArrays<T>& in, const Layout& layout, const BlockMemory& memory,
                     ProblemNote* note)
      : in(in),
        place{note, 0, 0},
        stride(stride_for(in.n.width)),
        a(memory.at<double>(layout.a)),
        m(memory.at<double>(layout.m)),
        z(memory.at<double>(layout.z)),
        row(memory.at<double>(layout.row)) {}

  // A from M.
  __device__ void refresh(Index token) {
    const Index d = in.n.width;
    copy_rows(d, d, m, stride, a, stride);
    if (!invert_in_place(d, a, stride, row, z) && threadIdx.x == 0)
      place.found(Problem::penalty_not_definite, token);
  }

  __device__ void start(Index b, Index h) {
    const Index d = in.n.width, head = b * in.n.heads + h;
    place.b = b;
    place.h = h;
    lambda0 = in.lambda0[h];
    if (threadIdx.x == 0) place.check_lambda0(lambda0);
    kept = 1;
    tokens = 0;
    if (!in.initial_penalty) {
      fill_rows(d, d, m, stride, 0.0, lambda0);
      fill_rows(d, d, a, stride, 0.0, 1 / lambda0);
      return;
    }
    copy_rows(d, d, in.initial_penalty + head * d * d, d, m, stride);
    kept = in.initial_kept[head];
    tokens = in.tokens_before;
    if (in.initial_inverse)
      copy_rows(d, d, in.initial_inverse + head * d * d, d, a, stride);
    else
      refresh(0);
  }

  // M += weight u u^T, and A likewise.
  __device__ void add(const T* u, double weight, Index token) const {
    const Index d = in.n.width;
    __syncthreads();  // the last z may still be read
    for_rows(d, d, [&](const RowPart& part) {
      const double product = part.sum(part_dot(part, a + part.row * stride, u));
      if (part.leads) z[part.row] = product;
    });
    __syncthreads();
    const double delta =
        1 + weight * warp_sum<double>(d, [&](Index i) { return double(u[i]) * z[i]; });
    if (threadIdx.x == 0 && !(delta > 0 && isfinite(delta)))
      place.found(Problem::penalty_not_definite, token);
    const double share = weight / delta;
    for_rows(d, d, [&](const RowPart& part) {
      if (part.begin == part.end) return;
      double *m_row = m + part.row * stride, *a_row = a + part.row * stride;
      const double m_factor = weight * u[part.row], a_factor = share * z[part.row];
#pragma unroll 4
      for (Index j = part.begin; j < part.end; ++j) {
        m_row[j] += m_factor * u[j];
        a_row[j] -= a_factor * z[j];
      }
    });
  }

  // Opens token t, whose directions are at `u`.
  __device__ void open(Index t, const T* u) {
    const Index d = in.n.width, at = in.place(place.b, t, place.h);
    check_finite(place, u, in.n.rank * d, Problem::penalty_direction, t);
    if (in.forget) {
      const double gamma = in.forget[at], grown = 1 / gamma;
      if (threadIdx.x == 0 && !(gamma > 0 && gamma <= 1))
        place.found(Problem::penalty_forget, t, gamma);
      kept *= gamma;
      for_rows(d, d, [&](const RowPart& part) {
        for (Index j = part.begin; j < part.end; ++j) {
          m[part.row * stride + j] *= gamma;
          a[part.row * stride + j] *= grown;
        }
      });
    }
    for (Index i = 0; i < in.n.rank; ++i) {
      const double weight = in.weight(at, i);
      if (threadIdx.x == 0 && !(weight >= 0)) place.found(Problem::penalty_weight, t, weight);
      add(u + i * d, weight, t);
    }
  }

  __device__ void close(Index t) {
    ++tokens;
    const bool restores = in.restore_period > 0 && tokens % in.restore_period == 0;
    if (restores) {
      add_to_diagonal(in.n.width, m, stride, (1 - kept) * lambda0);
      kept = 1;
    }
    if (restores || tokens % PenaltyTracker::kRefreshPeriod == 0) refresh(t);
  }

  // y = A x.
  template <class Y>
  __device__ void apply(const T* x, Y* y) const {
    for_rows(in.n.width, in.n.width, [&](const RowPart& part) {
      const double product = part.sum(part_dot(part, a + part.row * stride, x));
      if (part.leads) y[part.row] = static_cast<Y>(product);
    });
  }
};

// Takes the tracker over all tokens and calls read(t, x, upstream) at each, with the vectors of the
// token; `upstream` may be null.
template <class T, class Read>
__device__ void track(const PenaltyArrays<T>& in, Tracker<T>& tracker, const Layout& layout,
                      const BlockMemory& memory, Index b, Index h, const T* x, const T* upstream,
                      Read read) {
  const PenaltySizes& n = in.n;
  const Index directions = n.rank * n.width, vectors = n.vectors * n.width;
  tracker.start(b, h);
  for (Index first = 0; first < n.time; first += kTokens) {
    const Index count = min(kTokens, n.time - first), place = in.place(b, first, h);
    __syncthreads();  // the last tokens' inputs may still be read
    const Staged<T> us = stage(memory, layout.u, in.directions + place * directions,
                               n.heads * directions, count, directions);
    const Staged<T> xs =
        stage(memory, layout.x, x + place * vectors, n.heads * vectors, count, vectors);
    const Staged<T> gradients =
        stage(memory, layout.upstream, upstream ? upstream + place * vectors : nullptr,
              n.heads * vectors, count, vectors);
    __syncthreads();
    for (Index t = 0; t < count; ++t) {
      tracker.open(first + t, us.at(t));
      read(first + t, xs.at(t), gradients.at(t));
      tracker.close(first + t);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(const PenaltyArrays<T> in, const T* x, T* y, const PenaltyStateArrays last,
                 const Layout layout, const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width;
  Tracker<T> tracker(in, layout, memory, note);
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    track(in, tracker, layout, memory, b, h, x, static_cast<const T*>(nullptr),
          [&](Index t, const T* vectors, const T*) {
            check_finite(tracker.place, vectors, n.vectors * d, Problem::penalty_vector, t);
            for (Index v = 0; v < n.vectors; ++v)
              tracker.apply(vectors + v * d, y + (in.place(b, t, h) * n.vectors + v) * d);
          });
    copy_rows(d, d, tracker.m, tracker.stride, last.penalty + head * d * d, d);
    if (last.inverse) copy_rows(d, d, tracker.a, tracker.stride, last.inverse + head * d * d, d);
    if (threadIdx.x == 0) last.kept[head] = tracker.kept;
  }
}

// The adjoint, see inverse_penalty_step.cpp. all_y and all_h (B H, T, n d) get y and h of every
// token; the sum N then takes the place of A.
template <class T>
__global__ void __launch_bounds__(kThreads)
    adjoint_kernel(const PenaltyArrays<T> in, const T* x, const T* upstream,
                   const PenaltyGradients<T> out, double* all_y, double* all_h, const Layout layout,
                   const BlockMemory memory, ProblemNote* note) {
  const PenaltySizes& n = in.n;
  const Index d = n.width, area = n.vectors * d, stride = stride_for(d);
  Tracker<T> tracker(in, layout, memory, note);
  double *sum = tracker.a, *r = tracker.z;
  double *y = memory.at<double>(layout.y), *solved = memory.at<double>(layout.h);
  T *u = memory.at<T>(layout.own_u), *own_x = memory.at<T>(layout.own_x);
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    double *head_y = all_y + head * n.time * area, *head_h = all_h + head * n.time * area;
    track(in, tracker, layout, memory, b, h, x, upstream,
          [&](Index t, const T* vectors, const T* gradients) {
            check_finite(tracker.place, gradients, area, Problem::penalty_upstream, t);
            for (Index v = 0; v < n.vectors; ++v) {
              tracker.apply(vectors + v * d, head_y + t * area + v * d);
              tracker.apply(gradients + v * d, head_h + t * area + v * d);
            }
          });
    __syncthreads();
    fill_rows(d, d, sum, stride, 0.0, 0.0);
    ScalarScan<T> scan(in, b, h, out.forget);  // for the first thread
    for (Index t = n.time - 1; t >= 0; --t) {
      const Index place = in.place(b, t, h);
      __syncthreads();  // the token after may still be read
      for_each(area, [&](Index i) {
        y[i] = head_y[t * area + i];
        solved[i] = head_h[t * area + i];
        own_x[i] = x[place * area + i];
        out.x[place * area + i] = static_cast<T>(solved[i]);
      });
      for_each(n.rank * d, [&](Index i) { u[i] = in.directions[place * n.rank * d + i]; });
      __syncthreads();
      for_rows(d, d, [&](const RowPart& part) {
        if (part.begin == part.end) return;
        double* row = sum + part.row * stride;
        for (Index v = 0; v < n.vectors; ++v) {
          const double *h_v = solved + v * d, *y_v = y + v * d;
          const double h_i = h_v[part.row], y_i = y_v[part.row];
#pragma unroll 4
          for (Index j = part.begin; j < part.end; ++j) row[j] += h_i * y_v[j] + y_i * h_v[j];
        }
      });
      double direction_part = 0;
      for (Index m = 0; m < n.rank; ++m) {
        const double weight = in.weight(place, m);
        const T* u_m = u + m * d;
        for_rows(d, d, [&](const RowPart& part) {
          const double product = part.sum(part_dot(part, sum + part.row * stride, u_m));
          if (part.leads) r[part.row] = -product;
        });
        __syncthreads();
        T* du = out.directions + (place * n.rank + m) * d;
        for_each(d, [&](Index j) { du[j] = static_cast<T>(weight * r[j]); });
        const double along = warp_sum<double>(d, [&](Index j) { return double(u_m[j]) * r[j]; });
        direction_part += weight * along;
        if (out.weights && threadIdx.x == 0)
          out.weights[place * n.rank + m] = static_cast<T>(along / 2);
        __syncthreads();  // before r is written again
      }
      if (threadIdx.x < kWarp) {
        const double output_part = warp_dot(solved, y, area);
        const double value_part =
            warp_sum<double>(area, [&](Index i) { return solved[i] * double(own_x[i]); });
        if (threadIdx.x == 0) scan.token(t, output_part, value_part, direction_part);
      }
      if (in.forget) {
        const double gamma = in.forget[place];
        for_rows(d, d, [&](const RowPart& part) {
          for (Index j = part.begin; j < part.end; ++j) sum[part.row * stride + j] *= gamma;
        });
      }
    }
    if (threadIdx.x == 0) out.lambda0[head] = static_cast<T>(scan.lambda0_gradient());
    __syncthreads();  // N was in the place of A
  }
}

template <class T>
__global__ void sum_over_batch_kernel(const T* parts, Index batch, Index heads, T* sums) {
  for (Index h = thread_index(); h < heads; h += thread_total()) {
    T sum = 0;
    for (Index b = 0; b < batch; ++b) sum += parts[b * heads + h];
    sums[h] = sum;
  }
}

}  // namespace

template <class T>
void apply_by_step(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last,
                   Device device) {
  Room room(device);
  const Layout layout = layout_of<T>(room, in.n, false);
  const Blocks blocks = room.blocks(in.n.batch * in.n.heads);
  Launch("inverse_penalty", device)(apply_kernel<T>, blocks.grid, in, x, y, last, layout,
                                    blocks.memory, problem_note(device));
}

template <class T>
void adjoint_by_step(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                     const PenaltyGradients<T>& out, Device device) {
  const PenaltySizes& n = in.n;
  Room room(device);
  const Layout layout = layout_of<T>(room, n, true);
  const Blocks blocks = room.blocks(n.batch * n.heads);
  const Shape vectors{n.batch * n.heads, n.time, n.vectors * n.width};
  Tensor all_y(vectors, DType::float64, device), all_h(vectors, DType::float64, device);
  Launch("inverse_penalty gradient", device)(
      adjoint_kernel<T>, blocks.grid, in, x, upstream, out, all_y.mutable_data<double>(),
      all_h.mutable_data<double>(), layout, blocks.memory, problem_note(device));
}

template <class T>
void sum_over_batch(const T* parts, const PenaltySizes& n, T* sums, Device device) {
  Launch("inverse_penalty gradient", device)(sum_over_batch_kernel<T>, grid_for(n.heads), parts,
                                             n.batch, n.heads, sums);
}

template void apply_by_step(const PenaltyArrays<float>&, const float*, float*, PenaltyStateArrays,
                            Device);
template void apply_by_step(const PenaltyArrays<double>&, const double*, double*,
                            PenaltyStateArrays, Device);
template void adjoint_by_step(const PenaltyArrays<float>&, const float*, const float*,
                              const PenaltyGradients<float>&, Device);
template void adjoint_by_step(const PenaltyArrays<double>&, const double*, const double*,
                              const PenaltyGradients<double>&, Device);
template void sum_over_batch(const float*, const PenaltySizes&, float*, Device);
template void sum_over_batch(const double*, const PenaltySizes&, double*, Device);

}  // namespace vla::cuda
