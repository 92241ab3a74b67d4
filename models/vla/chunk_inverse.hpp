// A over one chunk of the inverse penalty, from A at the chunk's start.
//
// Sherman-Morrison steps, written for all tokens of the chunk at once: with z_t = A_{t-1} u_t,
// delta_t = 1 + w_t u_t.z_t and f_t = w_t / delta_t,
//
//   A_t = A_0 - sum_{s<=t} f_s z_s z_s^T,   z_t = A_0 u_t - sum_{s<t} f_s (u_t.z_s) z_s,
//
// so the rows z solve a unit lower triangular system, (I + tril(C, -1) F) Z = U A_0 with C = U Z^T.
// It is solved by blocks of kBlock rows: what a block needs of the earlier ones are matrix
// products. No root of a weight is taken, so a weight of 0 is nothing special. (The Cholesky form
// of the same, with W = F^(1/2) Z, is in models/vla/README.md.)
#pragma once

#include "models/vla/penalty_chunks.hpp"

namespace vla {

template <class T>
class ChunkInverse {
 public:
  ChunkInverse(const PenaltySizes& sizes, const PenaltyPlan& plan);

  /// Starts a segment from A (D, D), D the padded d.
  void start(const T* inverse);
  /// Finds z (rows, D) and f (rows) of the chunk's directions. Returns the first row at which M is
  /// not positive definite or not finite, or -1.
  Index solve(const ChunkDirections<T>& directions, const PenaltyChunk& chunk, T* z, T* gains);
  /// Takes z and f from an earlier `solve`.
  void reuse(const PenaltyChunk& chunk, const T* z, const T* gains);
  /// rows (count n, D) of n vectors a token <- A_t x_t, in place.
  void apply(const ChunkDirections<T>& directions, const PenaltyChunk& chunk, std::vector<T>& rows);
  /// rows (count, D) <- A_t u_t, where every token has one direction: z_t / delta_t, after `solve`.
  void apply_to_directions(const ChunkDirections<T>& directions, const PenaltyChunk& chunk,
                           std::vector<T>& rows) const;
  /// Moves A past the chunk, to a next one whose first token is decayed by gamma.
  void advance(const PenaltyChunk& chunk, double gamma);

 private:
  Index eliminate(Index row, const T* weights, T* gains);
  void scale(Index rows, const T* z, const T* gains);
  void divide_by_product(const ChunkDirections<T>& directions, std::vector<T>& rows, Index n) const;
  Matrix<T> inverse() { return {inverse_.data(), wide_}; }

  Index wide_, vectors_, rank_;
  const T* z_ = nullptr;
  std::vector<T> inverse_;       // A (D, D)
  std::vector<T> u_transposed_;  // (D, rows)
  std::vector<T> z_transposed_;  // (D, rows)
  std::vector<T> scaled_z_;      // F Z (rows, D)
  std::vector<T> products_;      // C F (rows, rows), below the diagonal; x.z in `apply`
  std::vector<T> deltas_;        // (rows)
  std::vector<T> block_, block_inverse_, block_rows_, result_;
};

extern template class ChunkInverse<float>;
extern template class ChunkInverse<double>;

}  // namespace vla
