// Tasks whose examples are bytes with a class: images, reviews, pairs of documents.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "tasks/task.hpp"

namespace vla {

/// A part of an example.
using Bytes = std::span<const std::uint8_t>;

/// Tokens of bytes: 0 is padding, 1 + the byte otherwise. Those of the classes follow.
inline constexpr Index kByteTokens = 257;

/// Writes bytes as tokens to the end of `tokens`, of which there are as many or more.
void write_bytes(Bytes bytes, std::span<Index> tokens);

/// Examples of one or more parts and a class, one after the other in one block of memory.
class LabelledBytes {
 public:
  /// None yet, of `parts` parts each.
  explicit LabelledBytes(Index parts = 1) : parts_(parts) {}
  /// How many examples there are.
  Index size() const { return static_cast<Index>(labels_.size()); }
  /// How many parts each has.
  Index parts() const { return parts_; }
  /// One part of one.
  Bytes part(Index example, Index part) const;
  /// Its class.
  Index label(Index example) const;
  /// Throws Error for another number of parts.
  void add(std::initializer_list<Bytes> parts, Index label);
  /// Examples, bytes and a checksum of all, as text.
  std::string fingerprint() const;

 private:
  Index parts_;
  std::vector<std::uint8_t> bytes_, labels_;
  std::vector<std::size_t> ends_;  // of every part
};

/// What to learn from and what to evaluate on.
struct LabelledSets {
  LabelledBytes training, held_out;
};

/// T places in as many equal stretches as an example has parts, each stretch ending with its part;
/// the class is asked for at the last place, as token kByteTokens + class. Training examples come
/// epoch by epoch (tasks/epochs.hpp), and so do the held-out ones.
class LabelledBytesTask : public Task {
 public:
  Index vocabulary() const override { return kByteTokens + classes_; }
  Index length() const override { return length_; }
  /// The share of held-out examples that have the class most frequent in the training ones.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override { return draw(sets_.training, size, rng); }
  Batch sample_held_out(Index size, Rng& rng) const override {
    return draw(sets_.held_out, size, rng);
  }
  std::string fingerprint() const override { return fingerprint_; }

  /// All examples.
  const LabelledSets& sets() const { return sets_; }

 protected:
  /// For a task that knows where its sets come from: labels below `classes`, T = `length`.
  LabelledBytesTask(std::string name, Index classes, Index length, LabelledSets sets);

 private:
  Batch draw(const LabelledBytes& set, Index size, Rng& rng) const;

  std::string name_;
  Index classes_, length_;
  LabelledSets sets_;
  std::string fingerprint_;
};

}  // namespace vla
