// Rows of a table by number.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// Row tokens[s] of the table for every s: table (V, D), tokens int64 of shape S -> (S, D). Throws
/// Error for a token outside 0 .. V-1; on CUDA when a value is next read.
Var embedding(const Var& table, const Tensor& tokens, CallSite site = CallSite::here());

}  // namespace vla
