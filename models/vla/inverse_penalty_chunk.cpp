// The inverse penalty chunk by chunk: matrix products in place of steps, parallel over segments of
// a few chunks. For a chunk that starts from the inverse A0, with rows U of its directions,
//
//   Y = U A0,  I + Y U^T = R^T R,  W = R^-T Y,  A_t = A0 - (W^T W over rows up to token t).
//
// With forgetting let b_t be the product of gamma from the chunk's second token to t: rows u_s are
// scaled by 1 / sqrt(b_s), and A_t is divided by b_t. A chunk ends before b gets so small that this
// would cost digits, and at every restoration.

#include <algorithm>

#include "framework/parallel.hpp"
#include "models/vla/dense.hpp"
#include "models/vla/penalty_arrays.hpp"

namespace vla {
namespace {

constexpr Index kChunk = 64;            // tokens
constexpr Index kChunksPerSegment = 8;  // chunks between two factorisations of M
constexpr double kLeastProduct = 0.05;  // of gamma over a chunk

struct Chunk {
  Index first, count;  // tokens
  bool opens_segment;
};

// A run of chunks of one sequence and head that is solved from its own factorisation of M.
struct Segment {
  Index b, h;
  Index begin, end;  // chunks of the sequence and head
};

// How the tokens are cut, for each sequence and head (they differ where gamma does).
struct Plan {
  std::vector<std::vector<Chunk>> chunks;  // by b * heads + h
  std::vector<Index> chunk_offset;         // number of the first chunk of each, over all of them
  std::vector<Segment> segments;
  Index total_chunks = 0;
};

template <class T>
std::vector<Chunk> cut(const PenaltyArrays<T>& in, Index b, Index h) {
  std::vector<Chunk> chunks;
  double product = 1;
  Index in_segment = 0;
  bool after_restoration = false;
  for (Index t = 0; t < in.n.time; ++t) {
    const double gamma = in.gamma(in.place(b, t, h));
    check(gamma > 0 && gamma <= 1, "inverse penalty: forgetting factor ", gamma, " at token ", t,
          "; 0 < gamma <= 1 is needed");
    if (t > 0 && !after_restoration && chunks.back().count < kChunk &&
        product * gamma >= kLeastProduct) {
      product *= gamma;
      ++chunks.back().count;
    } else {
      const bool opens = t == 0 || after_restoration || in_segment == kChunksPerSegment;
      in_segment = opens ? 1 : in_segment + 1;
      product = 1;
      chunks.push_back({t, 1, opens});
    }
    after_restoration = in.restore_period > 0 && (t + 1) % in.restore_period == 0;
  }
  return chunks;
}

template <class T>
Plan make_plan(const PenaltyArrays<T>& in) {
  Plan plan;
  for (Index i = 0; i < in.n.batch * in.n.heads; ++i) {
    const Index b = i / in.n.heads, h = i % in.n.heads;
    plan.chunks.push_back(cut(in, b, h));
    plan.chunk_offset.push_back(plan.total_chunks);
    const auto& chunks = plan.chunks.back();
    for (Index c = 0; c < static_cast<Index>(chunks.size()); ++c) {
      if (chunks[static_cast<std::size_t>(c)].opens_segment) plan.segments.push_back({b, h, c, c});
      plan.segments.back().end = c + 1;
    }
    plan.total_chunks += static_cast<Index>(chunks.size());
  }
  return plan;
}

// One chunk's inputs gathered: rows of directions, in order of (token, direction), and b.
template <class T>
struct Gathered {
  Index count, rows;          // tokens, directions
  std::vector<T> directions;  // (rows, d), as given
  std::vector<T> scaled;      // (rows, d), times sqrt(weight / b)
  std::vector<T> product;     // b (count)
};

template <class T>
Gathered<T> gather(const PenaltyArrays<T>& in, Index b, Index h, const Chunk& chunk) {
  const Index d = in.n.width, r = in.n.directions;
  Gathered<T> g{chunk.count, chunk.count * r, {}, {}, {}};
  g.directions.resize(static_cast<std::size_t>(g.rows * d));
  g.scaled.resize(g.directions.size());
  g.product.resize(static_cast<std::size_t>(chunk.count));
  T product = 1;
  for (Index t = 0; t < chunk.count; ++t) {
    const Index place = in.place(b, chunk.first + t, h);
    if (t > 0) product *= in.gamma(place);
    g.product[static_cast<std::size_t>(t)] = product;
    for (Index m = 0; m < r; ++m) {
      const T* u = in.direction(place, m);
      const T weight = in.weight(place, m);
      check(weight >= 0, "inverse penalty: weight ", weight, " at token ", chunk.first + t,
            " of head ", h, "; 0 or more is needed");
      const T factor = std::sqrt(weight / product);
      T* into = g.directions.data() + (t * r + m) * d;
      T* scaled = g.scaled.data() + (t * r + m) * d;
      for (Index j = 0; j < d; ++j) {
        into[j] = u[j];
        scaled[j] = factor * u[j];
      }
    }
  }
  return g;
}

// The vectors of a chunk's tokens as rows (count n, d).
template <class T>
std::vector<T> gather_vectors(const PenaltyArrays<T>& in, Index b, Index h, const Chunk& chunk,
                              const T* x) {
  const Index area = in.n.vectors * in.n.width;
  std::vector<T> rows(static_cast<std::size_t>(chunk.count * area));
  for (Index t = 0; t < chunk.count; ++t)
    std::copy_n(x + in.place(b, chunk.first + t, h) * area, area, rows.data() + t * area);
  return rows;
}

template <class T>
void scatter_vectors(const PenaltyArrays<T>& in, Index b, Index h, const Chunk& chunk,
                     const std::vector<T>& rows, T* y) {
  const Index area = in.n.vectors * in.n.width;
  for (Index t = 0; t < chunk.count; ++t)
    std::copy_n(rows.data() + t * area, area, y + in.place(b, chunk.first + t, h) * area);
}

// M where every segment begins, after the decay of its first token (segments, d, d), and at the end
// of the sequence; in float64, since A amplifies its error.
template <class T>
std::vector<double> segment_penalties(const PenaltyArrays<T>& in, const Plan& plan,
                                      const PenaltyStateArrays* last) {
  const Index d = in.n.width, heads = in.n.heads;
  const auto area = static_cast<std::size_t>(d * d);
  std::vector<double> starts(plan.segments.size() * area);
  std::vector<std::size_t> first_segment(static_cast<std::size_t>(in.n.batch * heads));
  for (std::size_t s = plan.segments.size(); s-- > 0;)
    first_segment[static_cast<std::size_t>(plan.segments[s].b * heads + plan.segments[s].h)] = s;

  parallel_for(in.n.batch * heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index b = i / heads, h = i % heads;
      const double lambda0 = in.lambda0[h];
      check(lambda0 > 0 && std::isfinite(lambda0), "inverse penalty: lambda0 is ", lambda0,
            "; a positive number is needed");
      std::vector<double> m(area);
      for (Index j = 0; j < d; ++j) m[static_cast<std::size_t>(j * (d + 1))] = lambda0;
      std::vector<T> gram(area);
      double kept = 1;
      std::size_t segment = first_segment[static_cast<std::size_t>(i)];
      for (const Chunk& chunk : plan.chunks[static_cast<std::size_t>(i)]) {
        const Gathered<T> g = gather(in, b, h, chunk);
        const double gamma = in.gamma(in.place(b, chunk.first, h));
        const double product = g.product.back();
        for (double& element : m) element *= gamma;
        if (chunk.opens_segment) std::ranges::copy(m, starts.data() + segment++ * area);
        gemm<T>(Transpose::yes, Transpose::no, d, d, g.rows, 1, g.scaled.data(), d, g.scaled.data(),
                d, 0, gram.data(), d);
        for (std::size_t j = 0; j < area; ++j) m[j] = product * (m[j] + gram[j]);
        kept *= gamma * product;
        if (in.restore_period > 0 && (chunk.first + chunk.count) % in.restore_period == 0) {
          for (Index j = 0; j < d; ++j)
            m[static_cast<std::size_t>(j * (d + 1))] += (1 - kept) * lambda0;
          kept = 1;
        }
      }
      if (last) {
        std::ranges::copy(m, last->penalty + i * d * d);
        last->kept[i] = kept;
      }
    }
  });
  return starts;
}

// A over one chunk: A_t x for rows of vectors.
template <class T>
class ChunkInverse {
 public:
  // `a` is A at the chunk's start, after the decay of its first token.
  ChunkInverse(const std::vector<T>& a, const Gathered<T>& g, Index d)
      : a_(a), g_(g), d_(d), w_(g.scaled.size()) {
    const Index rows = g.rows;
    gemm<T>(Transpose::no, Transpose::no, rows, d, d, 1, g.scaled.data(), d, a.data(), d, 0,
            w_.data(), d);
    std::vector<T> system(static_cast<std::size_t>(rows * rows));
    gemm<T>(Transpose::no, Transpose::yes, rows, rows, d, 1, w_.data(), d, g.scaled.data(), d, 0,
            system.data(), rows);
    for (Index i = 0; i < rows; ++i) system[static_cast<std::size_t>(i * (rows + 1))] += 1;
    positive_definite_ = cholesky(system.data(), rows);
    if (positive_definite_) solve_transposed(system.data(), rows, w_.data(), d);
  }
  bool positive_definite() const { return positive_definite_; }

  // Rows (count n, d) of n vectors a token, in place.
  void apply(std::vector<T>& x, Index n) const {
    const Index vectors = g_.count * n;
    std::vector<T> products(static_cast<std::size_t>(vectors * g_.rows)), y(x.size());
    gemm<T>(Transpose::no, Transpose::yes, vectors, g_.rows, d_, 1, x.data(), d_, w_.data(), d_, 0,
            products.data(), g_.rows);
    const Index directions = g_.rows / std::max<Index>(g_.count, 1);
    for (Index i = 0; i < vectors; ++i)  // only directions of tokens up to the vector's own
      std::fill(products.data() + i * g_.rows + (i / n + 1) * directions,
                products.data() + (i + 1) * g_.rows, T(0));
    gemm<T>(Transpose::no, Transpose::no, vectors, d_, d_, 1, x.data(), d_, a_.data(), d_, 0,
            y.data(), d_);
    gemm<T>(Transpose::no, Transpose::no, vectors, d_, g_.rows, -1, products.data(), g_.rows,
            w_.data(), d_, 1, y.data(), d_);
    for (Index i = 0; i < vectors; ++i) {
      const T grown = 1 / g_.product[static_cast<std::size_t>(i / n)];
      for (Index j = 0; j < d_; ++j)
        x[static_cast<std::size_t>(i * d_ + j)] = grown * y[static_cast<std::size_t>(i * d_ + j)];
    }
  }

  // A at the start of the next chunk, whose first token has the factor `gamma`.
  std::vector<T> next(T gamma) const {
    std::vector<T> a = a_;
    const T grown = 1 / (g_.product.back() * gamma);
    gemm<T>(Transpose::yes, Transpose::no, d_, d_, g_.rows, -grown, w_.data(), d_, w_.data(), d_,
            grown, a.data(), d_);
    return a;
  }

 private:
  const std::vector<T>& a_;
  const Gathered<T>& g_;
  Index d_;
  std::vector<T> w_;
  bool positive_definite_;
};

// Calls see(segment, chunk number, chunk, gathered, inverse) for every chunk, in parallel over
// segments.
template <class T, class See>
void for_each_chunk(const PenaltyArrays<T>& in, const Plan& plan, const std::vector<double>& starts,
                    See see) {
  const Index d = in.n.width;
  const auto area = static_cast<std::size_t>(d * d);
  parallel_for(static_cast<Index>(plan.segments.size()), 1, [&](Index begin, Index end) {
    std::vector<double> m(area), inverse(area), scratch(area);
    for (Index s = begin; s < end; ++s) {
      const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
      const auto& chunks =
          plan.chunks[static_cast<std::size_t>(segment.b * in.n.heads + segment.h)];
      std::copy_n(starts.data() + static_cast<std::size_t>(s) * area, area, m.data());
      const auto check_definite = [&](bool definite, Index c) {
        check(definite, "inverse penalty: the penalty of sequence ", segment.b, ", head ",
              segment.h, ", chunk ", c, " at token ", chunks[static_cast<std::size_t>(c)].first,
              " is not positive definite or not finite");
      };
      check_definite(invert(m.data(), d, inverse.data(), scratch.data()), segment.begin);
      std::vector<T> a(inverse.begin(), inverse.end());
      for (Index c = segment.begin; c < segment.end; ++c) {
        const Chunk& chunk = chunks[static_cast<std::size_t>(c)];
        const Gathered<T> g = gather(in, segment.b, segment.h, chunk);
        const ChunkInverse<T> solver(a, g, d);
        check_definite(solver.positive_definite(), c);
        see(segment, c, chunk, g, solver);
        if (c + 1 < segment.end)
          a = solver.next(in.gamma(in.place(segment.b, chunk.first + chunk.count, segment.h)));
      }
    }
  });
}

// into (rows, d) += the part of U Y^T that pairs a direction with tokens from its own on, times Z:
// U (rows, d), Y and Z (count n, d).
template <class T>
void add_later_tokens(const Gathered<T>& g, Index n, Index d, const std::vector<T>& y,
                      const std::vector<T>& z, std::vector<T>& into) {
  const Index vectors = g.count * n, directions = g.rows / std::max<Index>(g.count, 1);
  std::vector<T> products(static_cast<std::size_t>(g.rows * vectors));
  gemm<T>(Transpose::no, Transpose::yes, g.rows, vectors, d, 1, g.directions.data(), d, y.data(), d,
          0, products.data(), vectors);
  for (Index i = 0; i < g.rows; ++i)
    std::fill_n(products.data() + i * vectors, i / directions * n, T(0));
  gemm<T>(Transpose::no, Transpose::no, g.rows, d, vectors, 1, products.data(), vectors, z.data(),
          d, 1, into.data(), d);
}

// Rows (count n, d) times b of their token.
template <class T>
std::vector<T> times_product(const Gathered<T>& g, Index n, Index d, std::vector<T> rows) {
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] *= g.product[i / static_cast<std::size_t>(n * d)];
  return rows;
}

// E of every chunk, from its sums K = sum_t b_t (h_t y_t^T + y_t h_t^T), in place: what all later
// chunks add to N, E = gamma' (K' + b' E') with the next chunk's K, b and first gamma.
template <class T>
void scan_sums(const PenaltyArrays<T>& in, const Plan& plan, std::vector<T>& sums) {
  const auto area = static_cast<std::size_t>(in.n.width * in.n.width);
  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index b = i / in.n.heads, h = i % in.n.heads;
      const auto& chunks = plan.chunks[static_cast<std::size_t>(i)];
      std::vector<double> later(area);
      for (Index c = static_cast<Index>(chunks.size()) - 1; c >= 0; --c) {
        const Chunk& chunk = chunks[static_cast<std::size_t>(c)];
        T* k = sums.data() +
               static_cast<std::size_t>(plan.chunk_offset[static_cast<std::size_t>(i)] + c) * area;
        double product = 1;
        for (Index t = 1; t < chunk.count; ++t)
          product *= in.gamma(in.place(b, chunk.first + t, h));
        const double gamma = in.gamma(in.place(b, chunk.first, h));
        for (std::size_t j = 0; j < area; ++j) {
          const double own = k[j];
          k[j] = static_cast<T>(later[j]);
          later[j] = gamma * (own + product * later[j]);
        }
      }
    }
  });
}

template <class T>
double dot(const T* a, const T* b, Index n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Gradients of directions and weights of one chunk, given y and h = A g of its tokens and E.
template <class T>
void direction_gradients(const PenaltyArrays<T>& in, const Segment& at, const Chunk& chunk,
                         const T* x_solved, const T* y, const T* later,
                         const PenaltyGradients<T>& out) {
  const Index d = in.n.width, n = in.n.vectors, r = in.n.directions;
  const Gathered<T> g = gather(in, at.b, at.h, chunk);
  const std::vector<T> h = gather_vectors(in, at.b, at.h, chunk, x_solved);
  const std::vector<T> ys = gather_vectors(in, at.b, at.h, chunk, y);
  std::vector<T> rows(static_cast<std::size_t>(g.rows * d));
  gemm<T>(Transpose::no, Transpose::no, g.rows, d, d, g.product.back(), g.directions.data(), d,
          later, d, 0, rows.data(), d);
  add_later_tokens(g, n, d, times_product(g, n, d, ys), h, rows);
  add_later_tokens(g, n, d, times_product(g, n, d, h), ys, rows);
  for (Index i = 0; i < g.rows; ++i) {
    const Index place = in.place(at.b, chunk.first + i / r, at.h), m = i % r;
    const T shrink = -1 / g.product[static_cast<std::size_t>(i / r)];
    const T weight = in.weight(place, m);
    T* row = rows.data() + i * d;
    T* du = out.directions + (place * r + m) * d;
    for (Index j = 0; j < d; ++j) du[j] = weight * (row[j] *= shrink);
    const double along = dot(in.direction(place, m), row, d);
    if (out.weights) out.weights[place * r + m] = static_cast<T>(along / 2);
  }
}

}  // namespace

template <class T>
void apply_by_chunk(const PenaltyArrays<T>& in, const T* x, T* y, PenaltyStateArrays last) {
  check(!in.initial_penalty, "inverse penalty: the chunk form starts at the start of a sequence");
  const Plan plan = make_plan(in);
  const std::vector<double> starts = segment_penalties(in, plan, &last);
  for_each_chunk(in, plan, starts,
                 [&](const Segment& at, Index, const Chunk& chunk, const Gathered<T>&,
                     const ChunkInverse<T>& inverse) {
                   std::vector<T> rows = gather_vectors(in, at.b, at.h, chunk, x);
                   inverse.apply(rows, in.n.vectors);
                   scatter_vectors(in, at.b, at.h, chunk, rows, y);
                 });
}

template <class T>
void adjoint_by_chunk(const PenaltyArrays<T>& in, const T* x, const T* upstream,
                      const PenaltyGradients<T>& out) {
  const Index d = in.n.width, n = in.n.vectors, heads = in.n.heads, area = n * d;
  const Plan plan = make_plan(in);
  const std::vector<double> starts = segment_penalties<T>(in, plan, nullptr);
  std::vector<T> y(static_cast<std::size_t>(in.n.batch * in.n.time * heads * area));
  std::vector<T> sums(static_cast<std::size_t>(plan.total_chunks * d * d));
  const auto number = [&](const Segment& at, Index c) {
    return plan.chunk_offset[static_cast<std::size_t>(at.b * heads + at.h)] + c;
  };

  for_each_chunk(in, plan, starts,
                 [&](const Segment& at, Index c, const Chunk& chunk, const Gathered<T>& g,
                     const ChunkInverse<T>& inverse) {
                   std::vector<T> ys = gather_vectors(in, at.b, at.h, chunk, x);
                   std::vector<T> h = gather_vectors(in, at.b, at.h, chunk, upstream);
                   inverse.apply(ys, n);
                   inverse.apply(h, n);
                   scatter_vectors(in, at.b, at.h, chunk, ys, y.data());
                   scatter_vectors(in, at.b, at.h, chunk, h, out.x);
                   T* sum = sums.data() + number(at, c) * d * d;
                   const std::vector<T> decayed = times_product(g, n, d, h);
                   gemm<T>(Transpose::yes, Transpose::no, d, d, g.count * n, 1, decayed.data(), d,
                           ys.data(), d, 0, sum, d);
                   for (Index i = 0; i < d; ++i)
                     for (Index j = 0; j <= i; ++j)
                       sum[i * d + j] = sum[j * d + i] = sum[i * d + j] + sum[j * d + i];
                 });
  scan_sums(in, plan, sums);

  parallel_for(static_cast<Index>(plan.segments.size()), 1, [&](Index begin, Index end) {
    for (Index s = begin; s < end; ++s) {
      const Segment& at = plan.segments[static_cast<std::size_t>(s)];
      for (Index c = at.begin; c < at.end; ++c)
        direction_gradients(
            in, at,
            plan.chunks[static_cast<std::size_t>(at.b * heads + at.h)][static_cast<std::size_t>(c)],
            out.x, y.data(), sums.data() + number(at, c) * d * d, out);
    }
  });

  parallel_for(in.n.batch * heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      ScalarScan<T> scan(in, i / heads, i % heads, out.forget);
      for (Index t = in.n.time - 1; t >= 0; --t) {
        const Index place = in.place(i / heads, t, i % heads);
        double direction_part = 0;  // u . du is weight u . r
        for (Index m = 0; m < in.n.directions; ++m)
          direction_part +=
              dot(in.direction(place, m), out.directions + (place * in.n.directions + m) * d, d);
        const T* h = out.x + place * area;
        scan.token(t, dot(h, y.data() + place * area, area), dot(h, x + place * area, area),
                   direction_part);
      }
      out.lambda0[i] = static_cast<T>(scan.lambda0_gradient());
    }
  });
}

template void apply_by_chunk(const PenaltyArrays<float>&, const float*, float*, PenaltyStateArrays);
template void apply_by_chunk(const PenaltyArrays<double>&, const double*, double*, PenaltyStateArrays);
template void adjoint_by_chunk(const PenaltyArrays<float>&, const float*, const float*,
                               const PenaltyGradients<float>&);
template void adjoint_by_chunk(const PenaltyArrays<double>&, const double*, const double*,
                               const PenaltyGradients<double>&);

}  // namespace vla
