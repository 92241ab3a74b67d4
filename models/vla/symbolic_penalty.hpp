// The symbolic direction of version 1: tokens that are related share their keys.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// One more update of A at some tokens.
struct SymbolicDirection {
  Var direction;  // a (B, T, H, d)
  Tensor active;  // uint8 (B, T): whether the token is related to one up to itself
};

/// Throws Error unless the relations are (B, T, T) and of the element type of the keys (B, T, H,
/// d).
void check_relations(const Tensor& relations, const Var& key);

/// For relations R (B, T, T), 0 or more, and W = N^(-1/2) R N^(-1/2), N the row sums plus 1e-6:
///
///   a_t = sqrt(weight) sum_{j<=t} W[t,j] k_j        keys k (B, T, H, d), which get a gradient
///
/// N sums over all columns, those of later tokens too, so a_t is not causal. A token is active
/// where its row of W is not zero up to its own column. Throws Error for shapes or element types
/// that do not fit, and relations that are negative or not finite.
SymbolicDirection symbolic_direction(const Var& key, const Tensor& relations, double weight);

/// The relation "the same token": R[b, t, j] = 1 where tokens (B, T) are equal -> (B, T, T).
Tensor equal_tokens(const Tensor& tokens, DType dtype);

}  // namespace vla
