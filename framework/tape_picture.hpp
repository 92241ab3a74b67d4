// A tape as text, as a picture for Graphviz, and its memory by op: all from `tape.view()`.
#pragma once

#include <string>

#include "framework/tape_view.hpp"

namespace vla {

/// A line a leaf and a line an op, in the order they ran:
///
///   value  made by        type             saved   called at
///   w      parameter      float32(8, 1)
///   %0     matmul(x, w)   float32(64, 1)   2.1 kB  program.cpp:12
///
/// %0, %1, ... are the results; a constant is told by its name or as its type and shape.
std::string to_text(const TapeView& view);

/// A directed graph in Graphviz's language, the same for the same tape: a box an op with the type
/// and shape of what it made, parameters in colour with their names, constants dashed; the tooltip
/// of a box has the line of the call and the bytes it keeps. `dot -Tsvg` draws it.
std::string to_dot(const TapeView& view);

/// What the tape keeps for backward, by op, the most first. A tensor that two ops keep counts
/// twice.
std::string memory_table(const TapeView& view);

}  // namespace vla
