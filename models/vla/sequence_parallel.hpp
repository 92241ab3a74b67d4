// Exact VLA on sequences that no single process holds: each rank has the tokens of its part.
#pragma once

#include "framework/distributed/communicator.hpp"
#include "models/vla/recursive_least_squares.hpp"

namespace vla {

/// The output (B, T, H, d_v) of recursive_least_squares for this rank's part of the sequences: all
/// inputs are those of its T tokens, the parts of the ranks in order make up the whole. T differs
/// from rank to rank as it likes, 0 included; the rest of the shapes is the same everywhere.
///
/// What a part needs of those before it are sums over their tokens, P = sum beta k k^T and
/// N = sum beta v k^T, since M = lambda0 I + P and S = N M^-1: one sum of B H (d + d_v) d numbers
/// (float64) over earlier ranks, and one over later ranks in backward. Everything else is this
/// rank's own, as are its time and memory.
///
/// All ranks call it together, in forward and so in backward too (see framework/distributed/ops):
/// gradients are those of the sum of the ranks' losses, each of which must depend on the output,
/// and that of lambda0 is this rank's share, to be summed over ranks as those of all parameters.
/// There is no forgetting. Throws Error as recursive_least_squares does.
Var sequence_parallel_least_squares(const LeastSquaresInputs& inputs, const Communicator& ranks,
                                    CallSite site = CallSite::here());

}  // namespace vla
