#include "models/vla/chunk_inverse.hpp"

#include <cmath>

namespace vla {
namespace {

template <class T>
Matrix<const T> constant(const T* data, Index stride) {
  return {data, stride};
}

}  // namespace

template <class T>
ChunkInverse<T>::ChunkInverse(const PenaltySizes& n, const PenaltyPlan& plan)
    : wide_(padded(n.width)),
      vectors_(n.vectors),
      rank_(n.rank),
      inverse_(numbers<T>(wide_ * wide_)),
      u_transposed_(numbers<T>(wide_ * plan.largest_rows)),
      z_transposed_(u_transposed_.size()),
      scaled_z_(u_transposed_.size()),
      products_(numbers<T>(std::max(plan.largest_rows, kBlock) * plan.largest_rows)),
      deltas_(numbers<T>(plan.largest_rows)),
      block_(numbers<T>(kBlock * kBlock)),
      block_inverse_(block_.size()),
      block_rows_(numbers<T>(kBlock * wide_)),
      result_(numbers<T>(padded(plan.largest_count * n.vectors) * wide_)) {}

template <class T>
void ChunkInverse<T>::start(const T* inverse) {
  std::copy_n(inverse, inverse_.size(), inverse_.data());
}

// The block of C on the diagonal at `row`, in block_: Gaussian elimination on its rows gives
// u_t.z_s below the diagonal. Leaves tril(C, -1) F in block_, f in gains.
template <class T>
Index ChunkInverse<T>::eliminate(Index row, const T* weights, T* gains) {
  for (Index s = 0; s < kBlock; ++s) {
    T* pivot = block_.data() + s * kBlock;
    const T delta = 1 + weights[row + s] * pivot[s];
    if (!(delta > 0) || !std::isfinite(delta)) return row + s;
    const T gain = weights[row + s] / delta;
    deltas_[static_cast<std::size_t>(row + s)] = delta;
    gains[row + s] = gain;
    for (Index t = s + 1; t < kBlock; ++t) {
      T* other = block_.data() + t * kBlock;
      const T factor = gain * other[s];
      other[s] = factor;
#pragma omp simd
      for (Index j = 0; j < kBlock; ++j) other[j] -= j > s ? factor * pivot[j] : T(0);
    }
  }
  return -1;
}

template <class T>
Index ChunkInverse<T>::solve(const ChunkDirections<T>& directions, const PenaltyChunk& chunk, T* z,
                             T* gains) {
  const Index rows = chunk.rows;
  const Matrix<const T> u = constant(directions.u.data(), wide_);
  const Matrix<T> zs{z, wide_}, c{products_.data(), rows}, block{block_.data(), kBlock};
  const Matrix<T> u_transposed{u_transposed_.data(), rows},
      z_transposed{z_transposed_.data(), rows};
  const Matrix<T> block_inverse{block_inverse_.data(), kBlock},
      block_rows{block_rows_.data(), wide_};
  const auto read = [](Matrix<T> m) { return constant<T>(m.data, m.stride); };
  transpose<T>(rows, wide_, u, u_transposed);
  multiply<T>(Into::set, rows, wide_, wide_, u, read(inverse()), zs);
  for (Index i = 0; i < rows; i += kBlock) {
    const Matrix<T> z_i = zs.from(i, 0);
    multiply<T>(Into::subtract, kBlock, wide_, i, read(c.from(i, 0)), read(zs), z_i);
    multiply<T>(Into::set, kBlock, kBlock, wide_, read(z_i), read(u_transposed.from(0, i)), block);
    const Index bad = eliminate(i, directions.weights.data(), gains);
    if (bad >= 0) return bad;
    invert_unit_lower<T>(read(block), block_inverse);
    std::copy_n(z_i.data, kBlock * wide_, block_rows.data);
    multiply<T>(Into::set, kBlock, wide_, kBlock, read(block_inverse), read(block_rows), z_i);
    transpose<T>(kBlock, wide_, read(z_i), z_transposed.from(0, i));
    const Index next = i + kBlock, left = rows - next;
    const Matrix<T> below = c.from(next, i);
    multiply<T>(Into::set, left, kBlock, wide_, u.from(next, 0), read(z_transposed.from(0, i)),
                below);
    for (Index t = 0; t < left; ++t)
      for (Index s = 0; s < kBlock; ++s) below.row(t)[s] *= gains[i + s];
  }
  scale(rows, z, gains);
  return -1;
}

template <class T>
void ChunkInverse<T>::scale(Index rows, const T* z, const T* gains) {
  z_ = z;
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < wide_; ++j)
      scaled_z_[static_cast<std::size_t>(i * wide_ + j)] = gains[i] * z[i * wide_ + j];
}

template <class T>
void ChunkInverse<T>::reuse(const PenaltyChunk& chunk, const T* z, const T* gains) {
  scale(chunk.rows, z, gains);
  transpose<T>(chunk.rows, wide_, constant(z, wide_), {z_transposed_.data(), chunk.rows});
}

template <class T>
void ChunkInverse<T>::apply(const ChunkDirections<T>& directions, const PenaltyChunk& chunk,
                            std::vector<T>& rows) {
  const Index vectors = chunk.count * vectors_;
  const Matrix<const T> x = constant<T>(rows.data(), wide_);
  const Matrix<T> y{result_.data(), wide_}, products{products_.data(), chunk.rows};
  multiply<T>(Into::set, vectors, wide_, wide_, x, constant<T>(inverse_.data(), wide_), y);
  for (Index i = 0; i < vectors; i += kBlock) {
    const Index count = std::min(kBlock, vectors - i);
    // Only directions of tokens up to a vector's own.
    const auto seen = [&](Index row) { return ((i + row) / vectors_ + 1) * rank_; };
    const Index columns = std::min(padded(seen(count - 1)), chunk.rows);
    multiply<T>(Into::set, count, columns, wide_, x.from(i, 0),
                constant<T>(z_transposed_.data(), chunk.rows), products);
    for (Index row = 0; row < count; ++row)
      std::fill(products.row(row) + seen(row), products.row(row) + columns, T(0));
    multiply<T>(Into::subtract, count, wide_, columns, constant<T>(products.data, products.stride),
                constant<T>(scaled_z_.data(), wide_), y.from(i, 0));
  }
  std::copy_n(result_.data(), vectors * wide_, rows.data());
  divide_by_product(directions, rows, vectors_);
}

template <class T>
void ChunkInverse<T>::apply_to_directions(const ChunkDirections<T>& directions,
                                          const PenaltyChunk& chunk, std::vector<T>& rows) const {
  rows.resize(static_cast<std::size_t>(chunk.rows * wide_));
  for (Index i = 0; i < chunk.count; ++i) {
    const T grown = 1 / deltas_[static_cast<std::size_t>(i)];
    for (Index j = 0; j < wide_; ++j)
      rows[static_cast<std::size_t>(i * wide_ + j)] = grown * z_[i * wide_ + j];
  }
  divide_by_product(directions, rows, 1);
}

template <class T>
void ChunkInverse<T>::divide_by_product(const ChunkDirections<T>& directions, std::vector<T>& rows,
                                        Index n) const {
  if (directions.product.back() == 1) return;
  for (std::size_t t = 0; t < directions.product.size(); ++t) {
    const T grown = 1 / directions.product[t];
    T* row = rows.data() + static_cast<Index>(t) * n * wide_;
    for (Index j = 0; j < n * wide_; ++j) row[j] *= grown;
  }
}

template <class T>
void ChunkInverse<T>::advance(const PenaltyChunk& chunk, double gamma) {
  multiply_symmetric<T>(Into::subtract, wide_, chunk.rows, constant<T>(scaled_z_.data(), wide_),
                        constant(z_, wide_), inverse());
  mirror_lower<T>(wide_, inverse());
  const T grown = static_cast<T>(1 / (chunk.decay * gamma));
  if (grown == 1) return;
  for (T& element : inverse_) element *= grown;
}

template class ChunkInverse<float>;
template class ChunkInverse<double>;

}  // namespace vla
