// A module is a plain struct with one function that names its parts:
//
//   struct Mlp {
//     Linear up, down;
//     void visit(PartVisitor& parts) { parts("up", up); parts("down", down); }
//   };
//
// Parameter names ("up.weight"), counts, saving and loading all follow from it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/tape.hpp"

namespace vla {

/// A parameter under the name its module gives it.
struct Parameter {
  std::string name;
  Var variable;
};

/// Walks the parts of a module and sees every parameter with its full name. A Var that is not
/// defined (an optional bias, say) is passed over.
class PartVisitor {
 public:
  /// Calls `see` with every parameter.
  explicit PartVisitor(std::function<void(const std::string& name, Var& parameter)> see)
      : see_(std::move(see)) {}

  /// A parameter of the module.
  void operator()(std::string_view name, Var& parameter) {
    if (parameter.defined()) see_(joined(name), parameter);
  }
  /// A part that is a module itself: its names go by "name.".
  template <class Module>
  void operator()(std::string_view name, Module& part) {
    const std::string outer = std::exchange(prefix_, joined(name));
    part.visit(*this);
    prefix_ = outer;
  }
  /// Parts "name.0", "name.1" and so on.
  template <class Module>
  void operator()(std::string_view name, std::vector<Module>& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      (*this)(std::string(name) + "." + std::to_string(i), parts[i]);
  }
  /// A part that may be missing.
  template <class Module>
  void operator()(std::string_view name, std::optional<Module>& part) {
    if (part) (*this)(name, *part);
  }
  /// The same.
  template <class Module>
  void operator()(std::string_view name, std::unique_ptr<Module>& part) {
    if (part) (*this)(name, *part);
  }

 private:
  std::string joined(std::string_view name) const {
    return prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
  }
  std::function<void(const std::string&, Var&)> see_;
  std::string prefix_;
};

/// All parameters of a module, in the order its parts are named; each variable takes its full name.
/// A variable that is named twice (tied weights) counts once, under its first name.
template <class Module>
std::vector<Parameter> parameters(Module& root) {
  std::vector<Parameter> result;
  std::set<const void*> seen;
  PartVisitor visitor([&](const std::string& name, Var& parameter) {
    if (!seen.insert(parameter.identity()).second) return;
    parameter.set_name(name);
    result.push_back({name, parameter});
  });
  root.visit(visitor);
  return result;
}

/// The number of trained values in a module.
template <class Module>
Index parameter_count(Module& root) {
  Index count = 0;
  for (const Parameter& parameter : parameters(root))
    count += parameter.variable.value().elements();
  return count;
}

/// Moves every parameter of a module to a device. Each stays the variable that it is. Optimisers
/// are made afterwards, because their own tensors are where the parameters are when they are made.
template <class Module>
void move_to(Module& root, Device device) {
  for (Parameter& parameter : parameters(root)) {
    Tensor& value = parameter.variable.mutable_value();
    value = value.to(device);
  }
}

}  // namespace vla
