// A value that a tape may know, and gradients looked up by it.
#pragma once

#include <cstdint>
#include <memory>
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
  const char* outer_file = "";  ///< of the call that CalledFrom tells of, if there is one
  int outer_line = 0;
  /// The place of the call that stands in the source.
  static constexpr CallSite here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// While it lives, the ops of its thread are told to serve the user's call at `site`. Whatever
/// calls ops in lines of its own, as a model does, makes one where it is called; the outermost
/// counts.
class CalledFrom {
 public:
  /// From here on.
  explicit CalledFrom(CallSite site);
  ~CalledFrom();
  CalledFrom(const CalledFrom&) = delete;
  CalledFrom& operator=(const CalledFrom&) = delete;
  /// `site` with the outer call, if there is one now.
  static CallSite complete(CallSite site);

 private:
  bool outermost_;
};

/// "op (called at file:line)", as errors name an op, or "op (called at file:line, for the call at
/// file:line)"; the op alone where the line is not known.
std::string located(const std::string& op, CallSite site);

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
  /// Whether an op made it on a tape: it is neither a parameter nor a constant.
  bool is_result() const { return state_ && state_->tape != 0; }
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
  /// The gradient of the loss with respect to `variable`, of its shape. Throws Error if that took
  /// no part in the loss, or is the result of an op and was not watched.
  const Tensor& operator[](const Var& variable) const;
  /// The same, or nullptr if there is none.
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

}  // namespace vla
