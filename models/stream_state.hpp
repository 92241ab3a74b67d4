// Where a sequence stands, so that it can go on: one token or one block of tokens at a time.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "framework/safetensors.hpp"
#include "framework/tape.hpp"

namespace vla {

class Communicator;

/// All that the continuation of a batch of sequences needs of their past; empty at their start.
/// Copies share tensors, which are replaced and never changed: each copy goes on by itself. No
/// gradient flows through a state.
struct StreamState {
  std::map<std::string, Tensor> parts = {};
  Index tokens = 0;  ///< of each sequence so far
};

/// The state as the content of a safetensors file.
TensorFile to_file(const StreamState& state);
/// The way back. Throws Error without a count of tokens in the metadata; whether the parts fit is
/// found out when the state is used.
StreamState to_state(const TensorFile& file);

/// What a block of tokens takes over from those before it and leaves to those after it, by name.
/// Without a state it stands for a whole sequence: there is nothing to take, and what is left is
/// dropped. Or it stands for a part of sequences that are split over ranks: then nothing is taken
/// and left by name, but by ops over ranks, through which gradients flow.
class Carry {
 public:
  Carry() = default;
  /// For the part of a rank, with so many tokens in the parts before; the communicator must outlive
  /// it.
  Carry(const Communicator& ranks, Index tokens) : ranks_(&ranks), earlier_(tokens) {}

  /// Whether the tokens are but a part of their sequence.
  bool streams() const { return walk_ != nullptr || ranks_ != nullptr; }
  /// The ranks over which sequences are split, or nullptr.
  const Communicator* ranks() const { return ranks_; }
  /// Tokens before the block.
  Index tokens() const;
  /// For a part of the module that has this one: its names go by "name.".
  Carry within(std::string_view name) const;
  /// What was left under the name; at the start of a sequence an undefined Tensor. A state that was
  /// read from a file is on the CPU: it is brought to `device` where one is given. Throws Error
  /// unless it is there, in this shape and element type, and in a part of split sequences, as does
  /// `leave`: so a mixer that knows of blocks alone refuses those.
  Tensor take(std::string_view name, const Shape& shape, DType dtype,
              std::optional<Device> device = {}) const;
  /// The same for what not every block leaves: undefined also where it is missing.
  Tensor take_if_left(std::string_view name, const Shape& shape, DType dtype,
                      std::optional<Device> device = {}) const;
  /// Leaves a part to the block that follows, under a name.
  void leave(std::string_view name, const Tensor& value) const;

 private:
  struct Walk;
  friend Var stream_block(StreamState&, Index, const std::function<Var(const Carry&)>&);
  Carry(Walk* walk, std::string prefix) : walk_(walk), prefix_(std::move(prefix)) {}
  void check_not_split(std::string_view name) const;
  const Tensor* find(const std::string& name, const Shape& shape, DType dtype) const;

  Walk* walk_ = nullptr;
  std::string prefix_;
  const Communicator* ranks_ = nullptr;
  Index earlier_ = 0;
};

/// Runs `advance` on a block of `tokens` tokens and moves the state on by them, once it has
/// returned: with no tokens, and where an Error is thrown, the state stays as it was. Throws Error
/// if the state has parts that nobody took, since it then belongs to something else.
Var stream_block(StreamState& state, Index tokens,
                 const std::function<Var(const Carry& carry)>& advance);

}  // namespace vla
