// How the state of an untrained memory behaves over a long random sequence.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "tools/stability_tokens.hpp"

namespace vla {

struct StabilityOptions {
  std::string model = "vla";  ///< see stability_model
  Index time = 1000;          ///< tokens
  Index dimensions = 32;      ///< d, of keys and values
  std::uint64_t seed = 1;
  std::string keys = "random";  ///< or repeated: see RandomSequence
};

/// What is read. Throws Error for options that are not allowed; the model is not looked at.
RandomSequence sequence_of(const StabilityOptions& options);

/// The smallest and the largest of some numbers; not a number where one of them is none.
struct NumberRange {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();

  void add(double x);
};

/// A quantity of Diagnostics over time.
struct StabilitySeries {
  std::string name;
  Index step;  ///< number i is of the token i step, counted from 0
  std::vector<double> numbers;
  NumberRange range;  ///< over all numbers

  double last() const { return numbers.back(); }
  /// At most kMostPlaces of the tokens that have a number, log-spaced, the first and the last among
  /// them.
  std::vector<Index> places() const;
  /// After the token at `place`, one that has a number.
  double at(Index place) const { return numbers[static_cast<std::size_t>(place / step)]; }
};

struct StabilityStates {
  Index every = 1;  ///< tokens between two computations of eigenvalues
  std::vector<StabilitySeries> series;
};

/// One head reads one sequence, in float64 on the CPU: memory_norm, transition_norm,
/// transition_radius, and with a penalty inverse_norm, smallest_eigenvalue and largest_eigenvalue
/// of A, as Diagnostics has them. Eigenvalues are computed about 100 times, at the first token and
/// the last and evenly between, or more often where the time less 1 has no such divisor; the others
/// at every token. O(time d) memory. Throws Error for options that are
/// not allowed.
StabilityStates measure_states(const StabilityOptions& options);

inline constexpr Index kMostPlaces = 200;

/// At most `most` (2 or more) different places out of 0 .. count - 1, the first and the last among
/// them: all, or log-spaced.
std::vector<Index> log_spaced(Index count, Index most);

}  // namespace vla
