// How the chunk form of the inverse penalty cuts its tokens, and M where its segments begin.
#pragma once

#include <vector>

#include "models/small_matrix.hpp"
#include "models/vla/penalty_arrays.hpp"

namespace vla {

/// Tokens of one sequence and head that are solved together. With forgetting let b_t be the product
/// of gamma from the chunk's second token to t; a chunk ends before b gets so small that dividing
/// by it would cost digits, and at every restoration.
struct PenaltyChunk {
  Index first, count;  // tokens
  Index rows;          // directions, padded
  Index first_row;     // their place among the rows of all chunks
  double decay;        // b at the last token
};

/// A run of chunks of one sequence and head that starts from its own factorisation of M. Segments
/// are independent of each other.
struct PenaltySegment {
  Index b, h;
  Index begin, end;  // chunks, by their number among all
  bool restores;     // M is restored after the last token
};

struct PenaltyPlan {
  std::vector<PenaltyChunk> chunks;      // of head 0 of sequence 0, then head 1, ...
  std::vector<PenaltySegment> segments;  // likewise
  std::vector<Index> first_segment;      // of each sequence and head, and one past the last
  Index rows = 0, largest_rows = 0, largest_count = 0;
};

/// `chunk` tokens at a time. Throws Error for what check_token refuses.
template <class T>
PenaltyPlan make_penalty_plan(const PenaltyArrays<T>& in, Index chunk);

/// The directions of one chunk, in order of (token, direction), with rows and columns of zeros up
/// to the padded sizes.
template <class T>
struct ChunkDirections {
  std::vector<T> u;        // (rows, padded d)
  std::vector<T> weights;  // weight / b (rows)
  std::vector<T> product;  // b (tokens)

  void gather(const PenaltyArrays<T>& in, const PenaltySegment& at, const PenaltyChunk& chunk);
};

/// The vectors of a chunk's tokens, (count n, padded d). Throws Error, naming `what`, the sequence,
/// head and token, for one that is not finite.
template <class T>
void gather_vectors(const PenaltyArrays<T>& in, const PenaltySegment& at, const PenaltyChunk& chunk,
                    const T* x, const char* what, std::vector<T>& rows);
template <class T>
void scatter_vectors(const PenaltyArrays<T>& in, const PenaltySegment& at,
                     const PenaltyChunk& chunk, const std::vector<T>& rows, T* x);

/// A at the start of every segment, after the decay of its first token: (segments, D, D) with D the
/// padded d. `last` gets the state after the last token. Throws Error for an M that is not positive
/// definite.
template <class T>
Tensor segment_inverses(const PenaltyArrays<T>& in, const PenaltyPlan& plan,
                        const PenaltyStateArrays& last);

/// Fails, naming the place, unless `positive`. `chunk` is its number among all.
void check_positive_definite(bool positive, const PenaltyPlan& plan, const PenaltySegment& at,
                             Index chunk, Index token);

}  // namespace vla
