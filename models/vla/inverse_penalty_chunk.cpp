// The inverse penalty chunk by chunk: matrix products in place of steps, parallel over segments of
// a few chunks. See chunk_inverse.hpp for one chunk, and the README for the adjoint.

#include <algorithm>

#include "framework/parallel.hpp"
#include "models/vla/chunk_inverse.hpp"

namespace vla {
namespace {

// Directions of a chunk, by default: its triangular systems are then as large as the widest keys
// in use, and half of their work is left out.
constexpr Index kRows = 64;

template <class T>
PenaltyPlan plan_of(const PenaltyArrays<T>& in) {
  const Index usual = std::max<Index>(kRows / std::max<Index>(in.n.rank, 1), 1);
  return make_penalty_plan(in, in.chunk > 0 ? in.chunk : usual);
}

template <class T>
Index segment_area(const PenaltyArrays<T>& in) {
  return padded(in.n.width) * padded(in.n.width);
}

// Calls see(segment, chunk number, chunk) for the chunks of every segment, in parallel over
// segments. `make` gives each thread what it works with.
template <class Make, class See>
void for_each_segment(const PenaltyPlan& plan, Make make, See see) {
  parallel_for(static_cast<Index>(plan.segments.size()), 1, [&](Index begin, Index end) {
    auto workspace = make();
    for (Index s = begin; s < end; ++s)
      see(workspace, s, plan.segments[static_cast<std::size_t>(s)]);
  });
}

// What one thread works with.
template <class T>
struct Workspace {
  ChunkInverse<T> inverse;
  ChunkDirections<T> directions = {};
  std::vector<T> x = {}, y = {}, h = {}, z = {}, gains = {};
};

// The factor of the first token after the chunk, where the segment goes on.
template <class T>
double next_gamma(const PenaltyArrays<T>& in, const PenaltySegment& at, const PenaltyChunk& chunk) {
  return in.gamma(in.place(at.b, chunk.first + chunk.count, at.h));
}

// A token's direction is also the vector that A is to be applied to: in exact VLA it is the key.
template <class T>
bool applies_to_directions(const PenaltyArrays<T>& in, const T* x) {
  return x == in.directions && in.n.vectors == 1 && in.n.rank == 1;
}

// E of every chunk, from its sums K = sum_t b_t (h_t y_t^T + y_t h_t^T), in place: what all later
// chunks add to N, E = gamma' (K' + b' E') with the next chunk's K, b and first gamma.
template <class T>
void scan_sums(const PenaltyArrays<T>& in, const PenaltyPlan& plan, T* sums) {
  const Index area = segment_area(in);
  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    for (Index head = begin; head < end; ++head) {
      const auto first = plan.first_segment[static_cast<std::size_t>(head)];
      const auto last = plan.first_segment[static_cast<std::size_t>(head) + 1];
      if (first == last) continue;
      std::vector<double> later(static_cast<std::size_t>(area));
      const PenaltySegment& front = plan.segments[static_cast<std::size_t>(first)];
      for (Index c = plan.segments[static_cast<std::size_t>(last - 1)].end - 1; c >= front.begin;
           --c) {
        const PenaltyChunk& chunk = plan.chunks[static_cast<std::size_t>(c)];
        const double gamma = in.gamma(in.place(front.b, chunk.first, front.h));
        T* k = sums + c * area;
        for (Index j = 0; j < area; ++j) {
          double& e = later[static_cast<std::size_t>(j)];
          const double own = k[j];
          k[j] = static_cast<T>(e);
          e = gamma * (own + chunk.decay * e);
        }
      }
    }
  });
}

// into (rows, D) += the part of U Y^T that pairs a direction with tokens from its own on, times Z:
// Y and Z (count n, D); products (kBlock, columns) and transposed (D, columns) are scratch.
template <class T>
void add_later_tokens(const PenaltySizes& n, const PenaltyChunk& chunk, Matrix<const T> u,
                      Matrix<const T> y, Matrix<const T> z, std::vector<T>& transposed,
                      std::vector<T>& products, Matrix<T> into) {
  const Index wide = padded(n.width), columns = padded(chunk.count * n.vectors);
  transposed.resize(static_cast<std::size_t>(wide * columns));
  products.resize(static_cast<std::size_t>(kBlock * columns));
  const Matrix<T> y_transposed{transposed.data(), columns}, p{products.data(), columns};
  transpose<T>(columns, wide, y, y_transposed);
  for (Index i = 0; i < chunk.rows; i += kBlock) {
    const auto own = [&](Index row) {  // the first column of the row's token
      return std::min((i + row) / n.rank * n.vectors, columns);
    };
    const Index first = own(0) / kBlock * kBlock;
    multiply<T>(Into::set, kBlock, columns - first, wide, u.from(i, 0),
                {y_transposed.data + first, columns}, p.from(0, first));
    for (Index row = 0; row < kBlock; ++row)
      std::fill(p.row(row) + first, p.row(row) + own(row), T(0));
    multiply<T>(Into::add, kBlock, wide, columns - first, {p.data + first, columns},
                z.from(first, 0), into.from(i, 0));
  }
}

// Rows (count n, D) times b of their token.
template <class T>
void multiply_by_product(const std::vector<T>& product, Index row_size, std::vector<T>& rows) {
  if (product.back() == 1) return;
  for (std::size_t t = 0; t < product.size(); ++t)
    for (Index j = 0; j < row_size; ++j)
      rows[t * static_cast<std::size_t>(row_size) + j] *= product[t];
}

// Gradients of directions and weights of one chunk, given y and h = A g of its tokens and E.
template <class T>
void direction_gradients(const PenaltyArrays<T>& in, const PenaltySegment& at,
                         const PenaltyChunk& chunk, const T* y, const T* later, Workspace<T>& w,
                         const PenaltyGradients<T>& out) {
  const Index d = in.n.width, wide = padded(d), r = in.n.rank;
  w.directions.gather(in, at, chunk);
  gather_vectors(in, at, chunk, y, "the output", w.y);
  gather_vectors(in, at, chunk, out.x, "the gradient", w.h);
  const Matrix<const T> u{w.directions.u.data(), wide}, ys{w.y.data(), wide}, hs{w.h.data(), wide};
  std::vector<T>& rows = w.z;
  rows.resize(static_cast<std::size_t>(chunk.rows * wide));
  multiply<T>(Into::set, chunk.rows, wide, wide, u, {later, wide}, {rows.data(), wide});
  // sum_t b_t (h_t y_t^T + y_t h_t^T): b goes with one factor of each.
  const std::vector<T>& product = w.directions.product;
  multiply_by_product({product.back()}, chunk.rows * wide, rows);
  std::vector<T>&scaled = w.x, products;
  scaled = w.y;
  multiply_by_product(product, in.n.vectors * wide, scaled);
  std::vector<T> transposed;
  add_later_tokens<T>(in.n, chunk, u, {scaled.data(), wide}, hs, transposed, products,
                      {rows.data(), wide});
  scaled = w.h;
  multiply_by_product(product, in.n.vectors * wide, scaled);
  add_later_tokens<T>(in.n, chunk, u, {scaled.data(), wide}, ys, transposed, products,
                      {rows.data(), wide});
  for (Index i = 0; i < chunk.count * r; ++i) {
    const Index place = in.place(at.b, chunk.first + i / r, at.h), m = i % r;
    const T shrink = -1 / product[static_cast<std::size_t>(i / r)], weight = in.weight(place, m);
    T *row = rows.data() + i * wide, *du = out.directions + (place * r + m) * d;
    for (Index j = 0; j < d; ++j) du[j] = weight * (row[j] *= shrink);
    if (out.weights)
      out.weights[place * r + m] =
          static_cast<T>(dot_in_float64(in.direction(place, m), row, d) / 2);
  }
}

// Gradients of gamma and lambda0, from those of x and u.
template <class T>
void scalar_gradients(const PenaltyArrays<T>& in, const T* x, const T* y,
                      const PenaltyGradients<T>& out) {
  const Index d = in.n.width, area = in.n.vectors * d, r = in.n.rank;
  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index b = i / in.n.heads, head = i % in.n.heads;
      ScalarScan<T> scan(in, b, head, out.forget);
      for (Index t = in.n.time - 1; t >= 0; --t) {
        const Index place = in.place(b, t, head);
        const T* h = out.x + place * area;
        double value_part = 0, direction_part = 0;  // they matter to gamma and to restorations
        if (in.forget) {
          value_part = dot_in_float64(h, x + place * area, area);
          // u . du is weight u . r
          direction_part =
              dot_in_float64(in.directions + place * r * d, out.directions + place * r * d, r * d);
        }
        scan.token(t, dot_in_float64(h, y + place * area, area), value_part, direction_part);
      }
      out.lambda0[i] = static_cast<T>(scan.lambda0_gradient());
    }
  });
}

}  // namespace

template <class T>
void apply_by_chunk(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last,
                    PenaltyFactors* factors) {
  const PenaltyPlan plan = plan_of(in);
  const Tensor starts = segment_inverses(in, plan, last);
  const Index wide = padded(in.n.width), area = segment_area(in);
  T *all_z = nullptr, *all_gains = nullptr;
  if (factors) {
    *factors = {Tensor({plan.rows, wide}, dtype_of<T>()), Tensor({plan.rows}, dtype_of<T>()),
                starts};
    all_z = factors->z.mutable_data<T>();
    all_gains = factors->gains.mutable_data<T>();
  }
  const bool own = applies_to_directions(in, x);
  for_each_segment(
      plan, [&] { return Workspace<T>{.inverse = ChunkInverse<T>(in.n, plan)}; },
      [&](Workspace<T>& w, Index s, const PenaltySegment& at) {
        w.z.resize(static_cast<std::size_t>(plan.largest_rows * wide));
        w.gains.resize(static_cast<std::size_t>(plan.largest_rows));
        w.inverse.start(starts.data<T>() + s * area);
        for (Index c = at.begin; c < at.end; ++c) {
          const PenaltyChunk& chunk = plan.chunks[static_cast<std::size_t>(c)];
          w.directions.gather(in, at, chunk);
          T* z = all_z ? all_z + chunk.first_row * wide : w.z.data();
          T* gains = all_gains ? all_gains + chunk.first_row : w.gains.data();
          const Index bad = w.inverse.solve(w.directions, chunk, z, gains);
          check_positive_definite(bad < 0, plan, at, c,
                                  chunk.first + bad / std::max<Index>(in.n.rank, 1));
          if (own) {
            w.inverse.apply_to_directions(w.directions, chunk, w.x);
          } else {
            gather_vectors(in, at, chunk, x, "the vector", w.x);
            w.inverse.apply(w.directions, chunk, w.x);
          }
          scatter_vectors(in, at, chunk, w.x, y);
          if (c + 1 < at.end) w.inverse.advance(chunk, next_gamma(in, at, chunk));
        }
      });
}

template <class T>
void adjoint_by_chunk(const PenaltyArrays<T>& in, const T* x, const T* y, const T* upstream,
                      const PenaltyFactors& factors, const PenaltyGradients<T>& out) {
  const PenaltyPlan plan = plan_of(in);
  const Index wide = padded(in.n.width), area = segment_area(in);
  const T *all_z = factors.z.data<T>(), *all_gains = factors.gains.data<T>();
  const T* starts = factors.starts.data<T>();
  Tensor all_sums({static_cast<Index>(plan.chunks.size()), area}, dtype_of<T>());
  T* sums = all_sums.mutable_data<T>();
  const auto make = [&] { return Workspace<T>{.inverse = ChunkInverse<T>(in.n, plan)}; };

  for_each_segment(plan, make, [&](Workspace<T>& w, Index s, const PenaltySegment& at) {
    w.inverse.start(starts + s * area);
    for (Index c = at.begin; c < at.end; ++c) {
      const PenaltyChunk& chunk = plan.chunks[static_cast<std::size_t>(c)];
      w.directions.gather(in, at, chunk);
      w.inverse.reuse(chunk, all_z + chunk.first_row * wide, all_gains + chunk.first_row);
      gather_vectors(in, at, chunk, upstream, "the upstream gradient", w.h);
      gather_vectors(in, at, chunk, y, "the output", w.y);
      w.inverse.apply(w.directions, chunk, w.h);
      scatter_vectors(in, at, chunk, w.h, out.x);
      if (c + 1 < at.end) w.inverse.advance(chunk, next_gamma(in, at, chunk));
      multiply_by_product(w.directions.product, in.n.vectors * wide, w.h);
      const Matrix<T> sum{sums + c * area, wide};
      multiply_transposed<T>(Into::set, wide, wide, chunk.count * in.n.vectors, {w.h.data(), wide},
                             {w.y.data(), wide}, sum);
      for (Index i = 0; i < wide; ++i)
        for (Index j = 0; j <= i; ++j)
          sum.row(i)[j] = sum.row(j)[i] = sum.row(i)[j] + sum.row(j)[i];
    }
  });
  scan_sums(in, plan, sums);
  for_each_segment(plan, make, [&](Workspace<T>& w, Index, const PenaltySegment& at) {
    for (Index c = at.begin; c < at.end; ++c)
      direction_gradients(in, at, plan.chunks[static_cast<std::size_t>(c)], y, sums + c * area, w,
                          out);
  });
  scalar_gradients(in, x, y, out);
}

template void apply_by_chunk(const PenaltyArrays<float>&, const float*, float*, PenaltyStateArrays,
                             PenaltyFactors*);
template void apply_by_chunk(const PenaltyArrays<double>&, const double*, double*,
                             PenaltyStateArrays, PenaltyFactors*);
template void adjoint_by_chunk(const PenaltyArrays<float>&, const float*, const float*,
                               const float*, const PenaltyFactors&, const PenaltyGradients<float>&);
template void adjoint_by_chunk(const PenaltyArrays<double>&, const double*, const double*,
                               const double*, const PenaltyFactors&,
                               const PenaltyGradients<double>&);

}  // namespace vla
