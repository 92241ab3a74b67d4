#include "models/vla/penalty_chunks.hpp"

#include <cmath>

#include "framework/diverged.hpp"
#include "framework/parallel.hpp"
#include "models/vla/dense.hpp"

namespace vla {
namespace {

constexpr Index kChunksPerSegment = 8;  // between two factorisations of M
constexpr double kLeastProduct = 0.05;  // of gamma over a chunk

// Adds one segment up, forgetting and all: M(after) = decay M(before) + sum, the sum (d, d) written
// to `sum`. In float64, since A amplifies the error of M. Returns the decay.
template <class T>
double add_up(const PenaltyArrays<T>& in, const PenaltyPlan& plan, const PenaltySegment& segment,
              double* sum) {
  const Index d = in.n.width, wide = padded(d);
  std::fill_n(sum, d * d, 0.0);
  double decay = 1;
  ChunkDirections<T> directions;
  std::vector<T> scaled, gram(static_cast<std::size_t>(wide * wide));
  for (Index c = segment.begin; c < segment.end; ++c) {
    const PenaltyChunk& chunk = plan.chunks[static_cast<std::size_t>(c)];
    directions.gather(in, segment, chunk);
    scaled = directions.u;
    for (Index i = 0; i < chunk.rows; ++i)
      for (Index j = 0; j < wide; ++j)
        scaled[static_cast<std::size_t>(i * wide + j)] *=
            directions.weights[static_cast<std::size_t>(i)];
    multiply_symmetric<T>(Into::set, wide, chunk.rows, {scaled.data(), wide},
                          {directions.u.data(), wide}, {gram.data(), wide});
    double trace = 0;
    for (Index i = 0; i < d; ++i) trace += gram[static_cast<std::size_t>(i * (wide + 1))];
    check_positive_definite(std::isfinite(trace), plan, segment, c, chunk.first);
    const double gamma = in.gamma(in.place(segment.b, chunk.first, segment.h));
    for (Index i = 0; i < d; ++i)
      for (Index j = 0; j <= i; ++j)
        sum[i * d + j] =
            chunk.decay * (gamma * sum[i * d + j] + gram[static_cast<std::size_t>(i * wide + j)]);
    decay *= gamma * chunk.decay;
  }
  mirror_lower<double>(d, {sum, d});
  return decay;
}

// M of one sequence and head, moved over its segments.
template <class T>
class PenaltyScan {
 public:
  PenaltyScan(const PenaltyArrays<T>& in, Index head)
      : in_(in), lambda0_(in.lambda0[head % in.n.heads]), m_(area()) {
    if (in.initial_penalty) {
      std::copy_n(in.initial_penalty + head * in.n.width * in.n.width, area(), m_.data());
      kept_ = in.initial_kept[head];
    } else {
      add_to_diagonal(lambda0_);
    }
  }
  // `sum` is that of the segment, and becomes M before it.
  void move(double decay, double* sum, bool restores) {
    for (std::size_t j = 0; j < m_.size(); ++j) {
      const double before = m_[j];
      m_[j] = decay * before + sum[j];
      sum[j] = before;
    }
    kept_ *= decay;
    if (!restores) return;
    add_to_diagonal((1 - kept_) * lambda0_);
    kept_ = 1;
  }
  const std::vector<double>& penalty() const { return m_; }
  double kept() const { return kept_; }

 private:
  std::size_t area() const { return static_cast<std::size_t>(in_.n.width * in_.n.width); }
  void add_to_diagonal(double amount) {
    for (Index j = 0; j < in_.n.width; ++j)
      m_[static_cast<std::size_t>(j * (in_.n.width + 1))] += amount;
  }

  const PenaltyArrays<T>& in_;
  double lambda0_, kept_ = 1;
  std::vector<double> m_;
};

// A = (gamma M)^-1 into a (D, D), padded with zeros.
template <class T>
bool invert_penalty(const double* penalty, double gamma, Index d, T* a) {
  std::vector<double> m(penalty, penalty + d * d), inverse(m.size()), scratch(m.size());
  if (!invert(m.data(), d, inverse.data(), scratch.data())) return false;
  std::fill_n(a, padded(d) * padded(d), T(0));
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < d; ++j)
      a[i * padded(d) + j] = static_cast<T>(inverse[static_cast<std::size_t>(i * d + j)] / gamma);
  return true;
}

// The same for M = lambda0 I.
template <class T>
void invert_start(double lambda0, double gamma, Index d, T* a) {
  std::fill_n(a, padded(d) * padded(d), T(0));
  for (Index i = 0; i < d; ++i) a[i * (padded(d) + 1)] = static_cast<T>(1 / (lambda0 * gamma));
}

}  // namespace

void check_positive_definite(bool positive, const PenaltyPlan& plan, const PenaltySegment& at,
                             Index chunk, Index token) {
  Index first = chunk;  // of the sequence and head
  while (first > 0 && plan.chunks[static_cast<std::size_t>(first)].first > 0) --first;
  check_not_diverged(positive, "inverse penalty: the penalty of sequence ", at.b, ", head ", at.h,
                     ", chunk ", chunk - first, " at token ", token,
                     " is not positive definite or not finite");
}

template <class T>
PenaltyPlan make_penalty_plan(const PenaltyArrays<T>& in, Index chunk) {
  PenaltyPlan plan;
  for (Index head = 0; head < in.n.batch * in.n.heads; ++head) {
    const Index b = head / in.n.heads, h = head % in.n.heads;
    plan.first_segment.push_back(static_cast<Index>(plan.segments.size()));
    for (Index t = 0; t < in.n.time; ++t) {
      check_token(in, b, t, h);
      const double gamma = in.gamma(in.place(b, t, h));
      const bool opens_segment = t == 0 || plan.segments.back().restores;
      PenaltyChunk* last = t == 0 ? nullptr : &plan.chunks.back();
      if (!opens_segment && last->count < chunk && last->decay * gamma >= kLeastProduct) {
        last->decay *= gamma;
        ++last->count;
      } else {
        const auto number = static_cast<Index>(plan.chunks.size());
        plan.chunks.push_back({t, 1, 0, 0, 1});
        if (opens_segment || number - plan.segments.back().begin == kChunksPerSegment)
          plan.segments.push_back({b, h, number, number, false});
        plan.segments.back().end = number + 1;
      }
      plan.segments.back().restores = in.restores_after(t);
    }
  }
  plan.first_segment.push_back(static_cast<Index>(plan.segments.size()));
  for (PenaltyChunk& c : plan.chunks) {
    c.rows = padded(c.count * in.n.rank);
    c.first_row = plan.rows;
    plan.rows += c.rows;
    plan.largest_rows = std::max(plan.largest_rows, c.rows);
    plan.largest_count = std::max(plan.largest_count, c.count);
  }
  return plan;
}

template <class T>
void ChunkDirections<T>::gather(const PenaltyArrays<T>& in, const PenaltySegment& at,
                                const PenaltyChunk& chunk) {
  const Index d = in.n.width, r = in.n.rank, wide = padded(d);
  u.assign(static_cast<std::size_t>(chunk.rows * wide), T(0));
  weights.assign(static_cast<std::size_t>(chunk.rows), T(0));
  product.resize(static_cast<std::size_t>(chunk.count));
  T b = 1;
  for (Index t = 0; t < chunk.count; ++t) {
    const Index place = in.place(at.b, chunk.first + t, at.h);
    if (t > 0) b *= in.gamma(place);
    product[static_cast<std::size_t>(t)] = b;
    for (Index m = 0; m < r; ++m) {
      weights[static_cast<std::size_t>(t * r + m)] = in.weight(place, m) / b;
      std::copy_n(in.direction(place, m), d, u.data() + (t * r + m) * wide);
    }
  }
}

template <class T>
void gather_vectors(const PenaltyArrays<T>& in, const PenaltySegment& at, const PenaltyChunk& chunk,
                    const T* x, const char* what, std::vector<T>& rows) {
  const Index d = in.n.width, n = in.n.vectors, wide = padded(d);
  rows.assign(static_cast<std::size_t>(padded(chunk.count * n) * wide), T(0));
  for (Index i = 0; i < chunk.count * n; ++i) {
    const Index token = chunk.first + i / n;
    const T* from = x + (in.place(at.b, token, at.h) * n + i % n) * d;
    check_finite(from, d, what, at.b, at.h, token);
    std::copy_n(from, d, rows.data() + i * wide);
  }
}

template <class T>
void scatter_vectors(const PenaltyArrays<T>& in, const PenaltySegment& at,
                     const PenaltyChunk& chunk, const std::vector<T>& rows, T* x) {
  const Index d = in.n.width, n = in.n.vectors;
  for (Index i = 0; i < chunk.count * n; ++i)
    std::copy_n(rows.data() + i * padded(d), d,
                x + (in.place(at.b, chunk.first + i / n, at.h) * n + i % n) * d);
}

template <class T>
Tensor segment_inverses(const PenaltyArrays<T>& in, const PenaltyPlan& plan,
                        const PenaltyStateArrays& last) {
  const Index d = in.n.width, area = d * d, wide = padded(d);
  const auto segments = static_cast<Index>(plan.segments.size());
  const auto segment = [&](Index s) { return plan.segments[static_cast<std::size_t>(s)]; };
  Tensor penalties({segments, d, d}, DType::float64);  // the sums of segments, then M before them
  double* penalty = penalties.mutable_data<double>();
  std::vector<double> decays(plan.segments.size());
  parallel_for(segments, 1, [&](Index begin, Index end) {
    for (Index s = begin; s < end; ++s)
      decays[static_cast<std::size_t>(s)] = add_up(in, plan, segment(s), penalty + s * area);
  });

  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    for (Index head = begin; head < end; ++head) {
      PenaltyScan<T> scan(in, head);
      for (Index s = plan.first_segment[static_cast<std::size_t>(head)];
           s < plan.first_segment[static_cast<std::size_t>(head) + 1]; ++s)
        scan.move(decays[static_cast<std::size_t>(s)], penalty + s * area, segment(s).restores);
      std::ranges::copy(scan.penalty(), last.penalty + head * area);
      last.kept[head] = scan.kept();
    }
  });

  Tensor inverses({segments, wide, wide}, dtype_of<T>());
  T* inverse = inverses.mutable_data<T>();
  parallel_for(segments, 1, [&](Index begin, Index end) {
    for (Index s = begin; s < end; ++s) {
      const PenaltySegment at = segment(s);
      const Index token = plan.chunks[static_cast<std::size_t>(at.begin)].first;
      const double gamma = in.gamma(in.place(at.b, token, at.h));
      T* a = inverse + s * wide * wide;
      if (token == 0 && !in.initial_penalty)
        invert_start(in.lambda0[at.h], gamma, d, a);
      else
        check_positive_definite(invert_penalty(penalty + s * area, gamma, d, a), plan, at, at.begin,
                                token);
    }
  });
  return inverses;
}

template PenaltyPlan make_penalty_plan(const PenaltyArrays<float>&, Index);
template struct ChunkDirections<float>;
template void gather_vectors(const PenaltyArrays<float>&, const PenaltySegment&,
                             const PenaltyChunk&, const float*, const char*, std::vector<float>&);
template void scatter_vectors(const PenaltyArrays<float>&, const PenaltySegment&,
                              const PenaltyChunk&, const std::vector<float>&, float*);
template Tensor segment_inverses(const PenaltyArrays<float>&, const PenaltyPlan&,
                                 const PenaltyStateArrays&);
template PenaltyPlan make_penalty_plan(const PenaltyArrays<double>&, Index);
template struct ChunkDirections<double>;
template void gather_vectors(const PenaltyArrays<double>&, const PenaltySegment&,
                             const PenaltyChunk&, const double*, const char*, std::vector<double>&);
template void scatter_vectors(const PenaltyArrays<double>&, const PenaltySegment&,
                              const PenaltyChunk&, const std::vector<double>&, double*);
template Tensor segment_inverses(const PenaltyArrays<double>&, const PenaltyPlan&,
                                 const PenaltyStateArrays&);

}  // namespace vla
