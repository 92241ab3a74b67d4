// The engine: a tape of what ran, walked once in reverse.
//
//   Tape tape;                                  // records from here on, on this thread
//   Var loss = mean(square(matmul(x, w)));
//   Gradients gradients = tape.backward(loss);
//   const Tensor& dw = gradients[w];
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// Where in the user's program an op was called: taken as a default argument of the op.
struct CallSite {
  const char* file = "";
  int line = 0;
  /// The place of the call that stands in the source.
  static constexpr CallSite here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// A value that a tape may know: a parameter, the result of an op, or a constant. Copies are
/// handles of the same variable, and a variable's identity is what gradients are looked up by.
class Var {
 public:
  Var() = default;
  /// A constant: no gradient flows into it.
  Var(Tensor value);
  /// A leaf whose gradient every tape tracks. Floating element types only.
  static Var parameter(Tensor value, std::string name = "");

  /// Whether it is a variable at all.
  bool defined() const { return state_ != nullptr; }
  /// Throws Error if it is not defined, and so do those that follow.
  const Tensor& value() const;
  /// For optimisers and loaders, which change parameters in place.
  Tensor& mutable_value();
  /// Those of its value: shape, size of an axis (negative axes count from the end), element type
  /// and device.
  ///@{
  const Shape& shape() const { return value().shape(); }
  Index size(int axis) const { return value().size(axis); }
  DType dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }
  ///@}
  /// Whether a tape tracks this variable's gradient.
  bool requires_gradient() const;
  /// For messages and files; may be empty.
  const std::string& name() const;
  /// Of every copy.
  void set_name(std::string name);
  /// Distinguishes this variable from every other that is alive.
  const void* identity() const { return state_.get(); }

 private:
  friend class Tape;
  struct State {
    Tensor value;
    std::string name;
    bool requires_gradient = false;
    std::uint64_t tape = 0;  // serial number of the tape that recorded it, 0 for a leaf
    int slot = -1;           // its place on that tape
  };
  std::shared_ptr<State> state_;
};

/// The same value without its history: a constant.
Var detach(const Var& x);
/// Its value, or an undefined Tensor for an optional variable that was left out.
Tensor value_or_none(const Var& x);

/// Gradients by variable: ordinary values, in the order the variables were first used.
class Gradients {
 public:
  /// The gradient of the loss with respect to `variable`, of its shape. Throws Error if the
  /// variable took no part in the loss.
  const Tensor& operator[](const Var& variable) const;
  /// The same, or nullptr if the variable took no part.
  const Tensor* find(const Var& variable) const;
  /// Adds another batch's gradients; a variable that only one side has is kept.
  Gradients& operator+=(const Gradients& other);

  /// How many there are.
  std::size_t size() const { return entries_.size(); }
  /// Pairs of a variable and its gradient.
  ///@{
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  ///@}

  /// Adds a gradient to that of `variable`, which is 0 if there was none.
  void add(const Var& variable, const Tensor& gradient);

 private:
  std::vector<std::pair<Var, Tensor>> entries_;
  std::unordered_map<const void*, std::size_t> places_;
};

/// What a backward rule is given: the upstream gradients, the saved tensors, and which inputs want
/// a gradient.
class BackwardContext {
 public:
  /// Gradient of the loss with respect to output `i`; zeros if that output was not used.
  const Tensor& gradient(int i = 0) const { return gradients_[static_cast<std::size_t>(i)]; }
  /// Tensor `i` of those that were given to `record` as `saved`.
  const Tensor& saved(int i) const { return saved_[static_cast<std::size_t>(i)]; }
  /// Whether the gradient of input `i` is wanted; if not, an undefined Tensor may be returned.
  bool wants(int i) const { return wants_[static_cast<std::size_t>(i)]; }

 private:
  friend class Tape;
  std::vector<Tensor> gradients_;
  std::span<const Tensor> saved_;
  std::vector<bool> wants_;
};

/// Returns one gradient per input, of the input's shape, type and device.
using BackwardFunction = std::function<std::vector<Tensor>(const BackwardContext&)>;

/// Makes a node: the only door onto the tape, for built-in ops and users alike. `value` is the
/// result computed from `inputs`; `saved` are the tensors `backward` will need (they must not be
/// changed in place before it runs). Nothing is recorded without a live tape or when no input
/// requires a gradient.
Var record(std::string name, Tensor value, const std::vector<Var>& inputs,
           std::vector<Tensor> saved, BackwardFunction backward, CallSite site = CallSite::here());
/// The same for an op with several results.
std::vector<Var> record(std::string name, std::vector<Tensor> values,
                        const std::vector<Var>& inputs, std::vector<Tensor> saved,
                        BackwardFunction backward, CallSite site = CallSite::here());

/// Whether `record` would make a node for an op with these inputs, so that it is worth keeping what
/// a backward rule needs.
bool will_be_recorded(const std::vector<Var>& inputs);

/// Records every op of its thread from construction until `backward` or destruction, unless a tape
/// made later is alive. Tapes nest and die in reverse order. A variable of an outer tape is a leaf
/// on an inner.
class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Gradients of `loss`, which has one element, with respect to every leaf and watched variable
  /// it depends on. Walks the tape once, in reverse, and releases what was saved on the way; a
  /// second call throws Error.
  Gradients backward(const Var& loss);
  /// The same for any output, given the gradient of the loss with respect to it.
  Gradients backward(const Var& output, const Tensor& upstream);

  /// Keeps the gradient of an intermediate result of this tape.
  void watch(const Var& variable);
  /// Called with each parameter and its gradient as soon as that gradient is final.
  void on_final_gradient(std::function<void(const Var&, const Tensor&)> callback);

  /// Number of nodes recorded.
  std::size_t size() const { return nodes_.size(); }
  /// Bytes of the tensors saved for backward; a tensor saved twice counts twice.
  std::size_t saved_bytes() const;

  /// The tape that records on this thread now, or nullptr.
  static Tape* current();

 private:
  friend class PauseRecording;
  friend std::vector<Var> record(std::string, std::vector<Tensor>, const std::vector<Var>&,
                                 std::vector<Tensor>, BackwardFunction, CallSite);

  // A place for the gradient of one variable.
  struct Slot {
    Tensor gradient;
    Shape shape;
    DType dtype;
    Device device;
    Var kept;             // set for leaves and watched variables: their gradient is returned
    int first_user = -1;  // for leaves, the first node that reads it: the last to add to it
  };
  struct Node {
    std::string name;
    CallSite site;
    std::vector<int> inputs;  // slots; -1 for a constant
    int first_output = 0;
    int outputs = 0;
    std::vector<Tensor> saved;
    std::vector<std::uint64_t> versions;
    BackwardFunction backward;
  };

  void stop_recording();
  void append(std::string name, std::vector<Var>& outputs, const std::vector<Var>& inputs,
              std::vector<Tensor> saved, BackwardFunction backward, CallSite site);
  bool knows(const Var& variable) const;
  int slot_of(const Var& variable);
  void run_backward(int index);
  void receive(const Node& node, std::size_t input, const Tensor& gradient);

  std::uint64_t serial_;
  Tape* outer_;
  std::vector<Node> nodes_;
  std::vector<Slot> slots_;
  std::unordered_map<const void*, int> leaves_;
  std::function<void(const Var&, const Tensor&)> final_gradient_;
  bool walked_ = false;
};

/// While it lives, nothing is recorded on its thread.
class PauseRecording {
 public:
  PauseRecording();
  ~PauseRecording();
  PauseRecording(const PauseRecording&) = delete;
  PauseRecording& operator=(const PauseRecording&) = delete;

 private:
  Tape* paused_;
};

}  // namespace vla
