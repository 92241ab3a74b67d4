// A tape as one looks at it: what ran, on what, where, and what it keeps for backward.
#pragma once

#include <string>
#include <vector>

#include "framework/variable.hpp"

namespace vla {

/// A value that an op of a tape read or made.
struct ValueView {
  enum class Kind {
    parameter,  ///< a leaf
    outer,      ///< a variable of an outer tape, which is a leaf here
    constant,   ///< no gradient flows into it
    result      ///< of an op of this tape
  };
  Kind kind;
  std::string name;  ///< of the variable; of a result only where it is watched
  Shape shape;
  DType dtype;
  Device device;
};

/// An op that a tape recorded. Its inputs and outputs are numbers of values.
struct NodeView {
  std::string name;
  CallSite site;
  std::vector<int> inputs;  ///< in the op's order; -1: an optional input that was left out
  std::vector<int> outputs;
  std::size_t saved_bytes;  ///< of the tensors kept for its backward rule
};

/// The nodes in the order they ran, and the values: leaves and results in the order they came to
/// the tape, then the constants, one for each time that one was read.
struct TapeView {
  std::vector<NodeView> nodes;
  std::vector<ValueView> values;
};

}  // namespace vla
