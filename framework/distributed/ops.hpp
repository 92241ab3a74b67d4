// Ops whose result depends on other ranks, and their gradients: those of the sum of the losses of
// all ranks. All ranks call them together, in forward and so in backward too: the loss of every
// rank must depend on the result, and every rank's input must require a gradient or none.
#pragma once

#include "framework/distributed/communicator.hpp"
#include "framework/tape.hpp"

namespace vla {

/// The sum of x over the ranks before this one; zeros on rank 0. Its gradient is the sum of the
/// upstream gradients of the ranks after this one. float32 or float64, of one shape on all ranks.
Var sum_of_earlier_ranks(const Var& x, const Communicator& ranks, CallSite site = CallSite::here());

/// Of sequences that are split over ranks in order, the `count` tokens before this rank's part
/// x (B, T, D): (B, count, D), with zeros before the first token. T differs from rank to rank and
/// may be less than `count`, also 0. Throws Error for a negative count and another rank of x.
Var tokens_of_earlier_ranks(const Var& x, Index count, const Communicator& ranks,
                            CallSite site = CallSite::here());

}  // namespace vla
