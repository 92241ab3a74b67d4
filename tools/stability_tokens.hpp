// The random sequence that `vla stability` lets a memory read.
#pragma once

#include "framework/random.hpp"
#include "framework/tape.hpp"

namespace vla {

/// What the tokens of one sequence bring to a memory with one head: first what an untrained layer
/// would project them to, then what it makes of that. Widths of keys and values are d both.
struct MemoryTokens {
  Var query, key, value;  // (1, T, 1, d)
  Var rate;               // (1, T, 1)
  Var lambda0 = {};       // (1), where the memory has a penalty

  /// The same in another element type, on another device.
  MemoryTokens to(DType dtype, Device device) const;
};

/// A sequence without end. Every number of a token is a pure function of the seed and the token's
/// place, so a longer part of it begins with the shorter one, however it is cut.
class RandomSequence {
 public:
  /// Different keys where they repeat.
  static constexpr Index kRepeatedKeys = 8;

  RandomSequence(Index dimensions, std::uint64_t seed, bool repeats_keys)
      : dimensions_(dimensions), seed_(seed), repeats_keys_(repeats_keys) {}

  Index dimensions() const { return dimensions_; }
  /// Tokens first .. first + count - 1: queries, keys, values and rates of independent normal
  /// numbers, float32. Where keys repeat, each is one of kRepeatedKeys that were drawn so, all
  /// equally likely.
  MemoryTokens read(Index first, Index count) const;
  /// For weights, which are drawn apart from the tokens.
  Rng weights() const { return Rng(seed_, kWeights); }

 private:
  enum Stream : std::uint64_t { kQueries, kKeys, kValues, kRates, kChoices, kWeights };

  // Row `index` of the stream, of `width` numbers.
  void draw(Stream stream, Index index, Index width, float* row) const;
  Index key_of(Index token) const;

  Index dimensions_;
  std::uint64_t seed_;
  bool repeats_keys_;
};

}  // namespace vla
