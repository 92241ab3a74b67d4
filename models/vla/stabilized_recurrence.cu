#include "models/block.cuh"
#include "models/vla/stabilized_recurrence_cuda.hpp"

namespace vla::cuda {
namespace {

constexpr double kClipGuard = 1e-6;  // as in stabilized_step.cpp

// The tensors as plain arrays; null where there is none.
template <class T>
struct Arrays {
  const T *q, *k, *v, *u, *symbolic;
  const std::uint8_t* active;
  const T *initial_inverse = nullptr, *initial_memory = nullptr;
  const Index* initial_updates = nullptr;
  // A, S and the count where segments begin
  T *inverses = nullptr, *memories = nullptr;
  Index* updates = nullptr;
  T *o = nullptr, *last_inverse = nullptr, *last_memory = nullptr;
  Index* last_updates = nullptr;
  const T* output_gradient = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr, *du = nullptr, *dsymbolic = nullptr;
};

enum class Kind : int { none, update, clamped, fallback };
enum Shift : int { nudged = 1, nudged_after_symbolic = 2, guarded = 4 };

// Where a block's arrays are. `tokens` tokens are remembered: one in forward, where nothing of them
// is needed later, a segment in backward.
struct Layout {
  Index tokens = 1;
  Index updates = 0;  // of A by one token, at most
  Place a, s;         // A (d, d); S (d_v, d), in backward S around every token of a segment
  Place coefficient, error, read;               // A k, v - S k and, in forward, A q
  Place z, divisors, kinds, shifts, norms;      // what happened at each token
  Place q, k, v, u, symbolic, output_gradient;  // inputs of a segment, staged
  // backward
  Place a_gradient, s_gradient, dread, derror, dcoefficient, dk, g;
};

Layout layout_of(Room& room, const StabilizedSizes& n, bool symbolic, bool backward, auto zero) {
  using T = decltype(zero);
  const Index area = n.key * stride_for(n.key), memory = n.value * stride_for(n.key);
  Layout at;
  at.tokens = backward ? kStabilizedSegment : 1;
  at.updates = n.directions + (symbolic ? 1 : 0);
  at.coefficient = room.take<T>(n.key);
  at.error = room.take<T>(n.value);
  at.read = room.take<T>(n.key);
  at.divisors = room.take<T>(at.tokens * at.updates);
  at.kinds = room.take<Kind>(at.tokens * at.updates);
  at.shifts = room.take<int>(at.tokens);
  at.norms = room.take<T>(at.tokens);
  if (backward) {
    for (Place* vector : {&at.dread, &at.dcoefficient, &at.dk, &at.g})
      *vector = room.take<T>(n.key);
    at.derror = room.take<T>(n.value);
  }
  at.z = room.take<T>(at.tokens * at.updates * n.key);
  at.a = room.take<T>(area);
  if (backward) {
    at.a_gradient = room.take<T>(area);
    at.s_gradient = room.take<T>(memory);
  } else {
    at.s = room.take<T>(memory);
  }
  at.q = room.take_if_shared<T>(kStabilizedSegment * n.key);
  at.k = room.take_if_shared<T>(kStabilizedSegment * n.key);
  at.v = room.take_if_shared<T>(kStabilizedSegment * n.value);
  at.u = room.take_if_shared<T>(kStabilizedSegment * n.directions * n.key);
  if (symbolic) at.symbolic = room.take_if_shared<T>(kStabilizedSegment * n.key);
  if (backward) {
    at.output_gradient = room.take_if_shared<T>(kStabilizedSegment * n.value);
    at.s = room.take<T>((kStabilizedSegment + 1) * memory);
  }
  return at;
}

// One token's inputs; no symbolic direction where there is no update with it.
template <class T>
struct Token {
  const T *q, *k, *v, *u, *symbolic;
};

// The inputs of a run of tokens.
template <class T>
struct Tokens {
  Staged<T> q, k, v, u, symbolic, output_gradient;
  const std::uint8_t* active;  // of the first token
  __device__ Token<T> at(Index t) const {
    return {q.at(t), k.at(t), v.at(t), u.at(t),
            symbolic.data && active[t] != 0 ? symbolic.at(t) : nullptr};
  }
};

template <class T>
__device__ Tokens<T> stage_tokens(const StabilizedSizes& n, const Arrays<T>& in,
                                  const Layout& layout, const BlockMemory& memory, Index b, Index h,
                                  Index first, Index count) {
  const Index place = (b * n.time + first) * n.heads + h;
  const auto bring = [&](Place to, const T* x, Index width) {
    return stage(memory, to, x ? x + place * width : nullptr, n.heads * width, count, width);
  };
  return {bring(layout.q, in.q, n.key),
          bring(layout.k, in.k, n.key),
          bring(layout.v, in.v, n.value),
          bring(layout.u, in.u, n.directions * n.key),
          bring(layout.symbolic, in.symbolic, n.key),
          bring(layout.output_gradient, in.output_gradient, n.value),
          in.active ? in.active + b * n.time + first : nullptr};
}

// A and what moves it, token by token; StabilizedState of the CPU, with the same formulas.
template <class T>
struct State {
  const StabilizedSizes& n;
  const StabilizedOptions& o;
  const Layout& layout;
  int stride;
  T *a, *coefficient, *error, *read;
  T *z, *divisors, *norms;
  Kind* kinds;
  int* shifts;
  Index updates = 0;

  __device__ State(const StabilizedSizes& n, const StabilizedOptions& o, const Layout& layout,
                   const BlockMemory& memory)
      : n(n),
        o(o),
        layout(layout),
        stride(static_cast<int>(stride_for(n.key))),
        a(memory.at<T>(layout.a)),
        coefficient(memory.at<T>(layout.coefficient)),
        error(memory.at<T>(layout.error)),
        read(memory.at<T>(layout.read)),
        z(memory.at<T>(layout.z)),
        divisors(memory.at<T>(layout.divisors)),
        norms(memory.at<T>(layout.norms)),
        kinds(memory.at<Kind>(layout.kinds)),
        shifts(memory.at<int>(layout.shifts)) {}

  // A += factor z z^T, each thread its own elements.
  __device__ void add_square(T factor, const T* z_at) const {
    for_rows(n.key, n.key, [&](const RowPart& part) {
      const T along = part.begin < part.end ? factor * z_at[part.row] : T(0);
      T* row = a + part.row * stride;
#pragma unroll 4
      for (int j = part.begin; j < part.end; ++j) row[j] += along * z_at[j];
    });
  }
  __device__ void shift(T amount) const { add_to_diagonal(n.key, a, stride, amount); }

  // One Sherman-Morrison update, or what stands in for it where delta is too small; `step` says
  // where it is noted.
  __device__ void update(const T* u, Index step) const {
    T* z_at = z + step * n.key;
    for_rows(n.key, n.key, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, a + part.row * stride, u));
      if (part.leads) z_at[part.row] = product;
    });
    __syncthreads();
    const T delta = 1 + warp_dot(u, z_at, n.key);  // the same in every thread
    const T floor = T(o.delta_floor);
    Kind kind = delta < floor ? Kind::clamped : Kind::update;
    T amount = delta < floor ? floor : delta;
    if (fabs(delta) < T(o.fallback_below)) {
      kind = Kind::fallback;
      amount = T(o.fallback_below);
    }
    repeat(kind, amount, z_at);
    if (threadIdx.x == 0) {
      kinds[step] = kind;
      divisors[step] = amount;
    }
  }
  // Does to A what an update did.
  __device__ void repeat(Kind kind, T amount, const T* z_at) const {
    if (kind == Kind::fallback)
      shift(amount);
    else
      add_square(-1 / amount, z_at);
  }
  // Whether a nudge is due after one more update, which it then gives.
  __device__ bool count_update() {
    ++updates;
    if (o.nudge_period == 0 || updates % o.nudge_period != 0) return false;
    shift(T(o.nudge));
    return true;
  }

  // 1 / max(|A k|, floor) where alpha is to be a unit vector. `length` is |A k|.
  __device__ T coefficient_factor(T& length) const {
    length = 0;
    if (!o.unit_coefficient) return 1;
    length = sqrt(warp_dot(coefficient, coefficient, n.key));
    return 1 / (length < T(o.unit_floor) ? T(o.unit_floor) : length);
  }
  // What the error is multiplied by. `length` is |e|.
  __device__ T error_factor(T& length) const {
    const T limit = T(o.error_clip);
    length = 0;
    if (limit == 0) return 1;
    length = sqrt(warp_dot(error, error, n.value));
    return length > limit ? limit / (length + T(kClipGuard)) : T(1);
  }
  // |M| of a matrix with rows of d elements, in every thread.
  __device__ T norm(const T* matrix, Index rows) const {
    T sum = 0;
    for_rows(rows, n.key, [&](const RowPart& part) {
      const T* row = matrix + part.row * stride;
      sum += part_dot(part, row, row);
    });
    return sqrt(sum_of_team<kThreads>(sum));
  }

  // Moves A and S, from `before` to `after` (which may be one), over a token whose notes are number
  // `note`; writes the output unless it is null.
  __device__ void forward(const Token<T>& token, Index note, const T* before, T* after, T* output) {
    __syncthreads();  // the token before may still be read
    const Index step = note * layout.updates;
    int shifted = 0;
    for (Index m = 0; m < n.directions; ++m) update(token.u + m * n.key, step + m);
    if (count_update()) shifted |= nudged;
    if (token.symbolic) {
      update(token.symbolic, step + n.directions);
      if (count_update()) shifted |= nudged_after_symbolic;
    } else if (layout.updates > n.directions && threadIdx.x == 0) {
      kinds[step + n.directions] = Kind::none;
    }

    for_rows(n.key, n.key, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, a + part.row * stride, token.k));
      if (part.leads) coefficient[part.row] = product;
    });
    for_rows(n.value, n.key, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, before + part.row * stride, token.k));
      if (part.leads) error[part.row] = token.v[part.row] - product;
    });
    __syncthreads();
    T length;
    const T to_alpha = coefficient_factor(length), to_error = error_factor(length);
    for_rows(n.value, n.key, [&](const RowPart& part) {
      const T e = part.begin < part.end ? to_error * error[part.row] : T(0);
      const T* from = before + part.row * stride;
      T* into = after + part.row * stride;
#pragma unroll 4
      for (int j = part.begin; j < part.end; ++j)
        into[j] = from[j] + e * (to_alpha * coefficient[j]);
    });
    if (o.renormalize_above > 0) {
      const T whole = norm(after, n.value);
      if (whole > T(o.renormalize_above))
        for_rows(n.value, n.key, [&](const RowPart& part) {
          for (int j = part.begin; j < part.end; ++j) after[part.row * stride + j] /= whole;
        });
      if (threadIdx.x == 0) norms[note] = whole;
    }
    if (o.guard_above > 0) {
      const T limit = T(o.guard_above);
      const T memory_norm = norm(after, n.value), inverse_norm = norm(a, n.key);
      if (memory_norm > limit || inverse_norm > limit) {
        shift(T(o.guard));
        shifted |= guarded;
      }
    }
    if (threadIdx.x == 0) shifts[note] = shifted;
    if (!output) return;

    const T* read_vector = token.q;
    if (o.read_through_inverse) {
      for_rows(n.key, n.key, [&](const RowPart& part) {
        const T product = part.sum(part_dot(part, a + part.row * stride, token.q));
        if (part.leads) read[part.row] = product;
      });
      __syncthreads();
      read_vector = read;
    }
    for_rows(n.value, n.key, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, after + part.row * stride, read_vector));
      if (part.leads) output[part.row] = product;
    });
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const StabilizedSizes n, const StabilizedOptions o, const Arrays<T> in,
                   const Layout layout, const BlockMemory memory) {
  State<T> state(n, o, layout, memory);
  T* s = memory.at<T>(layout.s);
  const Index stride = state.stride, area = n.key * n.key, memory_area = n.value * n.key;
  const Index segments = (n.time + kStabilizedSegment - 1) / kStabilizedSegment;
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    state.updates = in.initial_updates ? in.initial_updates[b] : 0;
    if (in.initial_inverse)
      copy_rows(n.key, n.key, in.initial_inverse + head * area, n.key, state.a, stride);
    else
      fill_rows(n.key, n.key, state.a, stride, T(0), T(1 / o.lambda0));
    if (in.initial_memory)
      copy_rows(n.value, n.key, in.initial_memory + head * memory_area, n.key, s, stride);
    else
      fill_rows(n.value, n.key, s, stride, T(0), T(0));
    for (Index segment = 0; segment < segments; ++segment) {
      const Index block = head * segments + segment, first = segment * kStabilizedSegment;
      const Index count = min(kStabilizedSegment, n.time - first);
      copy_rows(n.key, n.key, state.a, stride, in.inverses + block * area, n.key);
      copy_rows(n.value, n.key, s, stride, in.memories + block * memory_area, n.key);
      if (threadIdx.x == 0) in.updates[block] = state.updates;
      __syncthreads();  // the last segment's inputs may still be read
      const Tokens<T> tokens = stage_tokens(n, in, layout, memory, b, h, first, count);
      __syncthreads();
      for (Index t = 0; t < count; ++t)
        state.forward(tokens.at(t), 0, s, s,
                      in.o + ((b * n.time + first + t) * n.heads + h) * n.value);
    }
    copy_rows(n.key, n.key, state.a, stride, in.last_inverse + head * area, n.key);
    copy_rows(n.value, n.key, s, stride, in.last_memory + head * memory_area, n.key);
    // Every head of a sequence counts the same.
    if (h == 0 && threadIdx.x == 0) in.last_updates[b] = state.updates;
  }
}

// The gradients of A and S after the token at hand, moved back token by token.
template <class T>
struct Adjoint {
  State<T>& state;
  const T* start;  // A at the segment's beginning (d, d)
  T *ga, *gs;      // the gradients, with the stride of A and S
  T *dread, *derror, *dcoefficient, *dk, *g;

  __device__ Adjoint(State<T>& state, const Layout& layout, const BlockMemory& memory)
      : state(state),
        start(nullptr),
        ga(memory.at<T>(layout.a_gradient)),
        gs(memory.at<T>(layout.s_gradient)),
        dread(memory.at<T>(layout.dread)),
        derror(memory.at<T>(layout.derror)),
        dcoefficient(memory.at<T>(layout.dcoefficient)),
        dk(memory.at<T>(layout.dk)),
        g(memory.at<T>(layout.g)) {}

  // A as it was before update `m` of token `note`, from the segment's beginning on.
  __device__ void restore(Index note, Index m) const {
    const StabilizedSizes& n = state.n;
    copy_rows(n.key, n.key, start, n.key, state.a, state.stride);
    for (Index t = 0; t <= note; ++t) {
      const Index step = t * state.layout.updates;
      const int shifts = state.shifts[t];
      for (Index i = 0; i < state.layout.updates; ++i) {
        if (i == n.directions && (shifts & nudged)) state.shift(T(state.o.nudge));
        if (t == note && i == m) return;
        if (state.kinds[step + i] != Kind::none)
          state.repeat(state.kinds[step + i], state.divisors[step + i],
                       state.z + (step + i) * n.key);
      }
      if (state.layout.updates == n.directions && (shifts & nudged)) state.shift(T(state.o.nudge));
      if (shifts & nudged_after_symbolic) state.shift(T(state.o.nudge));
      if (shifts & guarded) state.shift(T(state.o.guard));
    }
  }

  // Back over an update. With A' after it, the gradient G of A' (symmetric) and g = G z / delta:
  //   dA = G - u g^T - g u^T + (z.g / delta) u u^T,  du = -2 A' g.
  // A clamped delta is a constant: dA = G - u g^T - g u^T, du = -2 A g.
  __device__ void backward_update(Index note, Index m, const T* u, T* du) const {
    const int d = static_cast<int>(state.n.key), stride = state.stride;
    const Index step = note * state.layout.updates + m;
    const Kind kind = state.kinds[step];
    const T amount = state.divisors[step];
    if (kind == Kind::fallback) return state.shift(-amount);
    const T* z = state.z + step * d;
    for_rows(d, d, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, ga + part.row * stride, z));
      if (part.leads) g[part.row] = product / amount;
    });
    __syncthreads();
    if (kind == Kind::clamped) restore(note, m);
    const T along = kind == Kind::update ? warp_dot(z, g, d) / amount : T(0);
    for_rows(d, d, [&](const RowPart& part) {
      T* row = state.a + part.row * stride;
      const T product = part.sum(part_dot(part, row, g));
      if (part.leads) du[part.row] = -2 * product;
      if (part.begin == part.end) return;
      const T u_i = u[part.row], g_i = g[part.row], to_u = along * u_i - g_i;
      T* gradient = ga + part.row * stride;
#pragma unroll 4
      for (int j = part.begin; j < part.end; ++j) gradient[j] += to_u * u[j] - u_i * g[j];
    });
    if (kind == Kind::update) state.add_square(1 / amount, z);
    __syncthreads();  // the next update writes g
  }

  // Takes A and both gradients back over a token; S is `before` and `after` on its two sides.
  __device__ void backward(const Token<T>& token, Index note, const T* upstream, const T* before,
                           const T* after, T* dq_out, T* dk_out, T* dv_out, T* du_out,
                           T* dsymbolic_out) const {
    const StabilizedSizes& n = state.n;
    const StabilizedOptions& o = state.o;
    const int stride = state.stride;
    const bool through = o.read_through_inverse;
    __syncthreads();  // what was written for the token after is no longer read
    const int shifts = state.shifts[note];
    const T guard = shifts & guarded ? T(o.guard) : T(0);

    // o = S y with y = A q or q: dy, and y anew. Then A k and v - S k anew, with A unguarded.
    for_rows(n.key, n.value, [&](const RowPart& part) {  // columns of S
      T sum = 0;
#pragma unroll 4
      for (int i = part.begin; i < part.end; ++i) sum += upstream[i] * after[i * stride + part.row];
      sum = part.sum(sum);
      if (part.leads) dread[part.row] = sum;
    });
    for_rows(n.key, n.key, [&](const RowPart& part) {
      T* row = state.a + part.row * stride;
      if (through) {
        const T product = part.sum(part_dot(part, row, token.q));
        if (part.leads) state.read[part.row] = product;
      }
      if (guard != 0 && part.has(part.row)) row[part.row] -= guard;
      const T product = part.sum(part_dot(part, row, token.k));
      if (part.leads) state.coefficient[part.row] = product;
    });
    for_rows(n.value, n.key, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, before + part.row * stride, token.k));
      if (part.leads) state.error[part.row] = token.v[part.row] - product;
    });
    __syncthreads();

    T alpha_length, error_length;
    const T to_alpha = state.coefficient_factor(alpha_length);
    const T to_error = state.error_factor(error_length);
    const T* read = through ? state.read : token.q;
    for_rows(n.value, n.key, [&](const RowPart& part) {
      if (part.begin == part.end) return;
      const T upstream_i = upstream[part.row];
      T* gradient = gs + part.row * stride;
#pragma unroll 4
      for (int j = part.begin; j < part.end; ++j) gradient[j] += upstream_i * read[j];
    });
    if (o.renormalize_above > 0 && state.norms[note] > T(o.renormalize_above)) {
      const T whole = state.norms[note];
      T along = 0;
      for_rows(n.value, n.key, [&](const RowPart& part) {
        along += part_dot(part, after + part.row * stride, gs + part.row * stride);
      });
      along = sum_of_team<kThreads>(along);
      for_rows(n.value, n.key, [&](const RowPart& part) {
        const int row = part.row * stride;
        for (int j = part.begin; j < part.end; ++j)
          gs[row + j] = (gs[row + j] - after[row + j] * along) / whole;
      });
    }
    for_rows(n.value, n.key, [&](const RowPart& part) {
      const T product = part.sum(part_dot(part, gs + part.row * stride, state.coefficient));
      if (part.leads) derror[part.row] = to_alpha * product;
    });
    // G is kept symmetric: of dy q^T and, below, of dalpha k^T it takes the symmetric half.
    for_rows(n.key, n.key, [&](const RowPart& part) {
      if (through) {
        const T product = part.sum(part_dot(part, state.a + part.row * stride, dread));
        if (part.leads) dq_out[part.row] = product + guard * dread[part.row];
        if (part.begin == part.end) return;
        const T half_dread = dread[part.row] / 2, half_q = token.q[part.row] / 2;
        T* gradient = ga + part.row * stride;
#pragma unroll 4
        for (int j = part.begin; j < part.end; ++j)
          gradient[j] += half_dread * token.q[j] + half_q * dread[j];
      } else if (part.leads) {
        dq_out[part.row] = dread[part.row];
      }
    });
    __syncthreads();

    // The gradient of the error before it was clipped, where it flows through |e| too.
    T error_along = 0;
    const bool clipped = o.error_clip > 0 && error_length > T(o.error_clip);
    if (clipped)
      error_along = warp_dot(state.error, derror, n.value) * to_error /
                    ((error_length + T(kClipGuard)) * error_length);
    const auto error_gradient = [&](int i) {
      return clipped ? to_error * derror[i] - error_along * state.error[i] : derror[i];
    };
    for_each(n.value, [&](Index i) { dv_out[i] = error_gradient(i); });
    for_rows(n.key, n.value, [&](const RowPart& part) {  // columns of S
      T dalpha = 0, dkey = 0;
      const T k_j = part.begin < part.end ? token.k[part.row] : T(0);
#pragma unroll 4
      for (int i = part.begin; i < part.end; ++i) {
        T& gradient = gs[i * stride + part.row];
        const T de = error_gradient(i);
        dalpha += gradient * (to_error * state.error[i]);
        dkey -= de * before[i * stride + part.row];
        gradient -= de * k_j;
      }
      dalpha = part.sum(dalpha);
      dkey = part.sum(dkey);
      if (part.leads) {
        dcoefficient[part.row] = dalpha;
        dk[part.row] = dkey;
      }
    });
    __syncthreads();

    // alpha = a / max(|a|, floor) with a = A k.
    T along = 0;
    if (o.unit_coefficient && alpha_length > T(o.unit_floor))
      along = to_alpha * warp_dot(state.coefficient, dcoefficient, n.key);
    const auto coefficient_gradient = [&](int j) {
      if (!o.unit_coefficient) return dcoefficient[j];
      return (dcoefficient[j] - to_alpha * state.coefficient[j] * along) * to_alpha;
    };
    for_rows(n.key, n.key, [&](const RowPart& part) {
      const T* row = state.a + part.row * stride;
      const bool any = part.begin < part.end;
      const T half_own = any ? coefficient_gradient(part.row) / 2 : T(0);
      const T half_k = any ? token.k[part.row] / 2 : T(0);
      T* gradient = ga + part.row * stride;
      T product = 0;
#pragma unroll 4
      for (int j = part.begin; j < part.end; ++j) {
        const T other = coefficient_gradient(j);
        product += row[j] * other;
        gradient[j] += half_own * token.k[j] + half_k * other;
      }
      product = part.sum(product);
      if (part.leads) dk_out[part.row] = dk[part.row] + product;
    });

    if (shifts & nudged_after_symbolic) state.shift(-T(o.nudge));
    if (token.symbolic) backward_update(note, n.directions, token.symbolic, dsymbolic_out);
    if (shifts & nudged) state.shift(-T(o.nudge));
    for (Index m = n.directions - 1; m >= 0; --m)
      backward_update(note, m, token.u + m * n.key, du_out + m * n.key);
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const StabilizedSizes n, const StabilizedOptions o, const Arrays<T> in,
                    const Layout layout, const BlockMemory memory) {
  State<T> state(n, o, layout, memory);
  Adjoint<T> adjoint(state, layout, memory);
  T* s = memory.at<T>(layout.s);  // S before each token of a segment, and after its last
  const Index stride = state.stride, area = n.key * n.key, memory_area = n.value * n.key;
  const Index held_area = n.value * stride;
  const Index segments = (n.time + kStabilizedSegment - 1) / kStabilizedSegment;
  for (Index head = blockIdx.x; head < n.batch * n.heads; head += gridDim.x) {
    const Index b = head / n.heads, h = head % n.heads;
    __syncthreads();  // the last head's gradients may still be read
    fill_rows(n.key, n.key, adjoint.ga, stride, T(0), T(0));
    fill_rows(n.value, n.key, adjoint.gs, stride, T(0), T(0));
    for (Index segment = segments - 1; segment >= 0; --segment) {
      const Index block = head * segments + segment, first = segment * kStabilizedSegment;
      const Index count = min(kStabilizedSegment, n.time - first);
      __syncthreads();  // the last segment's arrays may still be read
      const Tokens<T> tokens = stage_tokens(n, in, layout, memory, b, h, first, count);
      adjoint.start = in.inverses + block * area;
      copy_rows(n.key, n.key, adjoint.start, n.key, state.a, stride);
      copy_rows(n.value, n.key, in.memories + block * memory_area, n.key, s, stride);
      state.updates = in.updates[block];
      for (Index t = 0; t < count; ++t)
        state.forward(tokens.at(t), t, s + t * held_area, s + (t + 1) * held_area, nullptr);
      for (Index t = count - 1; t >= 0; --t) {
        const Index place = (b * n.time + first + t) * n.heads + h;
        adjoint.backward(tokens.at(t), t, tokens.output_gradient.at(t), s + t * held_area,
                         s + (t + 1) * held_area, in.dq + place * n.key, in.dk + place * n.key,
                         in.dv + place * n.value, in.du + place * n.directions * n.key,
                         in.dsymbolic ? in.dsymbolic + place * n.key : nullptr);
      }
    }
  }
}

template <class T>
Arrays<T> input_arrays(const StabilizedTensors& in) {
  return {.q = in.q.data<T>(),
          .k = in.k.data<T>(),
          .v = in.v.data<T>(),
          .u = in.u.data<T>(),
          .symbolic = data_or_null<T>(in.symbolic),
          .active = in.symbolic.defined() ? in.active.data<std::uint8_t>() : nullptr};
}

}  // namespace

void stabilized_by_step(const StabilizedSizes& n, const StabilizedOptions& options,
                        const StabilizedInputs& in, Tensor& output, StabilizedCheckpoints& saved,
                        StabilizedResult& result) {
  const Device device = output.device();
  const StabilizedTensors inputs = tensors_of(in);
  dispatch_floating(output.dtype(), "stabilized_recurrence", [&](auto zero) {
    using T = decltype(zero);
    Arrays<T> arrays = input_arrays<T>(inputs);
    arrays.initial_inverse = data_or_null<T>(in.initial_inverse);
    arrays.initial_memory = data_or_null<T>(in.initial_memory);
    arrays.initial_updates = data_or_null<Index>(in.initial_updates);
    arrays.inverses = saved.inverse.mutable_data<T>();
    arrays.memories = saved.memory.mutable_data<T>();
    arrays.updates = saved.updates.mutable_data<Index>();
    arrays.o = output.mutable_data<T>();
    arrays.last_inverse = result.inverse.mutable_data<T>();
    arrays.last_memory = result.memory.mutable_data<T>();
    arrays.last_updates = result.updates.mutable_data<Index>();
    Room room(device);
    const Layout layout = layout_of(room, n, inputs.symbolic.defined(), false, zero);
    const Blocks blocks = room.blocks(n.batch * n.heads);
    Launch("stabilized_recurrence", device)(forward_kernel<T>, blocks.grid, n, options, arrays,
                                            layout, blocks.memory);
  });
}

void stabilized_adjoint_by_step(const StabilizedSizes& n, const StabilizedOptions& options,
                                const StabilizedTensors& in, const StabilizedCheckpoints& saved,
                                const Tensor& output_gradient, StabilizedTensors& gradients) {
  const Device device = output_gradient.device();
  dispatch_floating(output_gradient.dtype(), "stabilized_recurrence", [&](auto zero) {
    using T = decltype(zero);
    Arrays<T> arrays = input_arrays<T>(in);
    // Read only: the kernel's arrays are one struct for both directions.
    arrays.inverses = const_cast<T*>(saved.inverse.data<T>());
    arrays.memories = const_cast<T*>(saved.memory.data<T>());
    arrays.updates = const_cast<Index*>(saved.updates.data<Index>());
    arrays.output_gradient = output_gradient.data<T>();
    arrays.dq = gradients.q.mutable_data<T>();
    arrays.dk = gradients.k.mutable_data<T>();
    arrays.dv = gradients.v.mutable_data<T>();
    arrays.du = gradients.u.mutable_data<T>();
    arrays.dsymbolic = mutable_data_or_null<T>(gradients.symbolic);
    Room room(device);
    const Layout layout = layout_of(room, n, in.symbolic.defined(), true, zero);
    const Blocks blocks = room.blocks(n.batch * n.heads);
    Launch("stabilized_recurrence gradient", device)(backward_kernel<T>, blocks.grid, n, options,
                                                     arrays, layout, blocks.memory);
  });
}

}  // namespace vla::cuda
