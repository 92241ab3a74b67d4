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
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "framework/tape_view.hpp"
#include "framework/variable.hpp"

namespace vla {

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

/// Sees the gradient of one variable when it is complete, and may return another of the same shape,
/// type and device in its place; an undefined Tensor leaves it. What it is shown is not to be
/// changed in place: other gradients may share it.
using GradientHook = std::function<Tensor(const Tensor& gradient)>;

/// A hook that was added to a tape.
class HookHandle {
 public:
  /// The hook is not called again; nothing happens if it was removed before or its tape is gone.
  void remove() {
    if (const auto hook = hook_.lock()) *hook = nullptr;
  }

 private:
  friend class Tape;
  std::weak_ptr<GradientHook> hook_;
};

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
  /// Calls `hook` in the backward walk with the gradient of `variable`, an intermediate result or a
  /// leaf, once it is complete and if there is one: each hook after those added before it, with
  /// what they made of it. That is what goes on, and what `Gradients` has. A hook may return
  /// nothing. Throws Error for a variable that requires no gradient, and after `backward`; a
  /// replacement that does not fit makes `backward` throw, naming the variable or its op.
  template <class Hook>
  HookHandle on_gradient(const Var& variable, Hook hook) {
    if constexpr (std::is_void_v<std::invoke_result_t<Hook&, const Tensor&>>)
      return add_hook(variable, [hook = std::move(hook)](const Tensor& gradient) mutable {
        hook(gradient);
        return Tensor();
      });
    else
      return add_hook(variable, std::move(hook));
  }
  /// Called with each parameter and its gradient as soon as that gradient is final.
  void on_final_gradient(std::function<void(const Var&, const Tensor&)> callback);

  /// Number of nodes recorded.
  std::size_t size() const { return nodes_.size(); }
  /// Bytes of the tensors saved for backward; a tensor saved twice counts twice.
  std::size_t saved_bytes() const;

  /// The tape as text, pictures and tables show it. Throws Error after `backward`.
  TapeView view() const;

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
    std::vector<std::shared_ptr<GradientHook>> hooks;
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

  // A constant that a node read, for those who look at the tape.
  struct Constant {
    std::size_t node, input;
    ValueView value;
  };

  void stop_recording();
  void append(std::string name, std::vector<Var>& outputs, const std::vector<Var>& inputs,
              std::vector<Tensor> saved, BackwardFunction backward, CallSite site);
  bool knows(const Var& variable) const;
  int slot_of(const Var& variable);
  HookHandle add_hook(const Var& variable, GradientHook hook);
  void run_hooks(Slot& slot, const std::string& whose);
  void finish_leaf(Slot& slot);
  void run_backward(int index);
  std::vector<Tensor> run_rule(const Node& node, const BackwardContext& context);
  void check_count(const Node& node, std::size_t gradients) const;
  void receive(const Node& node, std::size_t input, const Tensor& gradient);

  std::uint64_t serial_;
  Tape* outer_;
  std::vector<Node> nodes_;
  std::vector<Slot> slots_;
  std::vector<Constant> constants_;
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
