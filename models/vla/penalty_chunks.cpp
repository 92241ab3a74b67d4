#include "models/vla/penalty_chunks.hpp"

#include <cmath>

#include "framework/parallel.hpp"
#include "models/vla/dense.hpp"

namespace vla {
namespace {

constexpr Index kChunksPerSegment = 8;  // between two factorisations of M
constexpr double kLeastProduct = 0.05;  // of gamma over a chunk

// M over one segment, forgetting and all: M(after) = decay M(before) + sum. In float64, since A
// amplifies the error of M.
struct SegmentMap {
  std::vector<double> sum;  // (d, d)
  double decay = 1;
};

template <class T>
SegmentMap segment_map(const PenaltyArrays<T>& in, const PenaltyPlan& plan,
                       const PenaltySegment& segment) {
  const Index d = in.n.width, wide = padded(d);
  SegmentMap map{std::vector<double>(static_cast<std::size_t>(d * d))};
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
    const double gamma = in.gamma(in.place(segment.b, chunk.first, segment.h));
    for (Index i = 0; i < d; ++i) {
      double* row = map.sum.data() + i * d;
      for (Index j = 0; j <= i; ++j)
        row[j] = chunk.decay * (gamma * row[j] + gram[static_cast<std::size_t>(i * wide + j)]);
    }
    map.decay *= gamma * chunk.decay;
  }
  mirror_lower<double>(d, {map.sum.data(), d});
  return map;
}

// M of one sequence and head, moved over its segments.
template <class T>
class PenaltyScan {
 public:
  PenaltyScan(const PenaltyArrays<T>& in, Index head) : in_(in), m_(area()) {
    lambda0_ = in.lambda0[head % in.n.heads];
    check(lambda0_ > 0 && std::isfinite(lambda0_), "inverse penalty: lambda0 is ", lambda0_,
          "; a positive number is needed");
    if (in.initial_penalty) {
      std::copy_n(in.initial_penalty + head * in.n.width * in.n.width, area(), m_.data());
      kept_ = in.initial_kept[head];
    } else {
      add_to_diagonal(lambda0_);
    }
  }
  void move(const SegmentMap& map, bool restores) {
    for (std::size_t j = 0; j < m_.size(); ++j) m_[j] = map.decay * m_[j] + map.sum[j];
    kept_ *= map.decay;
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
  std::vector<double> m_;
  double lambda0_, kept_ = 1;
};

// A = (gamma M)^-1 into a (D, D), padded with zeros.
template <class T>
bool invert_penalty(const std::vector<double>& penalty, double gamma, Index d, T* a) {
  std::vector<double> m = penalty, inverse(m.size()), scratch(m.size());
  if (!invert(m.data(), d, inverse.data(), scratch.data())) return false;
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < d; ++j)
      a[i * padded(d) + j] = static_cast<T>(inverse[static_cast<std::size_t>(i * d + j)] / gamma);
  return true;
}

}  // namespace

void check_positive_definite(bool positive, const PenaltySegment& at, Index chunk, Index token) {
  check(positive, "inverse penalty: the penalty of sequence ", at.b, ", head ", at.h, ", chunk ",
        chunk, " at token ", token, " is not positive definite or not finite");
}

template <class T>
PenaltyPlan make_penalty_plan(const PenaltyArrays<T>& in, Index chunk) {
  PenaltyPlan plan;
  for (Index head = 0; head < in.n.batch * in.n.heads; ++head) {
    const Index b = head / in.n.heads, h = head % in.n.heads;
    plan.first_segment.push_back(static_cast<Index>(plan.segments.size()));
    for (Index t = 0; t < in.n.time; ++t) {
      const double gamma = in.gamma(in.place(b, t, h));
      check(gamma > 0 && gamma <= 1, "inverse penalty: forgetting factor ", gamma, " at token ", t,
            "; 0 < gamma <= 1 is needed");
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
    c.rows = padded(c.count * in.n.directions);
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
  const Index d = in.n.width, r = in.n.directions, wide = padded(d);
  u.assign(static_cast<std::size_t>(chunk.rows * wide), T(0));
  weights.assign(static_cast<std::size_t>(chunk.rows), T(0));
  product.resize(static_cast<std::size_t>(chunk.count));
  T b = 1;
  for (Index t = 0; t < chunk.count; ++t) {
    const Index place = in.place(at.b, chunk.first + t, at.h);
    if (t > 0) b *= in.gamma(place);
    product[static_cast<std::size_t>(t)] = b;
    for (Index m = 0; m < r; ++m) {
      const T weight = in.weight(place, m);
      check(weight >= 0, "inverse penalty: weight ", weight, " of sequence ", at.b, ", head ", at.h,
            " at token ", chunk.first + t, "; 0 or more is needed");
      weights[static_cast<std::size_t>(t * r + m)] = weight / b;
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
    T* into = rows.data() + i * wide;
    T zero = 0;  // becomes NaN
#pragma omp simd reduction(+ : zero)
    for (Index j = 0; j < d; ++j) {
      into[j] = from[j];
      zero += 0 * from[j];
    }
    check(zero == 0, "inverse penalty: ", what, " of sequence ", at.b, ", head ", at.h,
          " at token ", token, " is not finite");
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
std::vector<T> segment_inverses(const PenaltyArrays<T>& in, const PenaltyPlan& plan,
                                const PenaltyStateArrays* last) {
  const Index d = in.n.width, area = padded(d) * padded(d);
  const auto segments = static_cast<Index>(plan.segments.size());
  std::vector<SegmentMap> maps(plan.segments.size());
  parallel_for(segments, 1, [&](Index begin, Index end) {
    for (Index s = begin; s < end; ++s)
      maps[static_cast<std::size_t>(s)] =
          segment_map(in, plan, plan.segments[static_cast<std::size_t>(s)]);
  });

  std::vector<std::vector<double>> starts(plan.segments.size());
  parallel_for(in.n.batch * in.n.heads, 1, [&](Index begin, Index end) {
    for (Index head = begin; head < end; ++head) {
      PenaltyScan<T> scan(in, head);
      for (Index s = plan.first_segment[static_cast<std::size_t>(head)];
           s < plan.first_segment[static_cast<std::size_t>(head) + 1]; ++s) {
        const auto i = static_cast<std::size_t>(s);
        starts[i] = scan.penalty();
        scan.move(maps[i], plan.segments[i].restores);
      }
      if (!last) continue;
      std::ranges::copy(scan.penalty(), last->penalty + head * d * d);
      last->kept[head] = scan.kept();
    }
  });

  std::vector<T> inverses(static_cast<std::size_t>(segments * area));
  parallel_for(segments, 1, [&](Index begin, Index end) {
    for (Index s = begin; s < end; ++s) {
      const PenaltySegment& at = plan.segments[static_cast<std::size_t>(s)];
      const Index token = plan.chunks[static_cast<std::size_t>(at.begin)].first;
      const double gamma = in.gamma(in.place(at.b, token, at.h));
      check_positive_definite(
          invert_penalty(starts[static_cast<std::size_t>(s)], gamma, d, inverses.data() + s * area),
          at, at.begin, token);
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
template std::vector<float> segment_inverses(const PenaltyArrays<float>&, const PenaltyPlan&,
                                             const PenaltyStateArrays*);
template PenaltyPlan make_penalty_plan(const PenaltyArrays<double>&, Index);
template struct ChunkDirections<double>;
template void gather_vectors(const PenaltyArrays<double>&, const PenaltySegment&,
                             const PenaltyChunk&, const double*, const char*, std::vector<double>&);
template void scatter_vectors(const PenaltyArrays<double>&, const PenaltySegment&,
                              const PenaltyChunk&, const std::vector<double>&, double*);
template std::vector<double> segment_inverses(const PenaltyArrays<double>&, const PenaltyPlan&,
                                              const PenaltyStateArrays*);

}  // namespace vla
