// A golden case: its file, how its names map to ours, and the verdict on its arrays.
#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "framework/nn/module.hpp"
#include "framework/safetensors.hpp"
#include "models/operator_form.hpp"
#include "tools/relative_error.hpp"

namespace vla {

/// A case file, read in the element type of the run, with arrays on its device.
class GoldenCase {
 public:
  GoldenCase(const std::string& path, DType dtype, Device device, double tolerance,
             std::ostream& out);

  const std::string& name() const { return name_; }
  bool is(std::string_view kind) const { return name_.starts_with(kind); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const TensorFile& file() const { return file_; }
  /// Of the operators in what is compared next: the lines then say `case/form array error`.
  OperatorForm form() const { return form_; }
  void set_form(OperatorForm form) { form_ = form; }
  bool has(const std::string& array) const { return file_.find(array) != nullptr; }
  /// An array on the run's device, floating ones in the element type of the run.
  Tensor array(const std::string& name) const;

  /// Metadata as numbers. Throws Error naming file and key for a text that is none.
  double number(const std::string& key) const;
  double number_or(const std::string& key, double otherwise) const;
  Index integer(const std::string& key) const;
  Index integer_or(const std::string& key, Index otherwise) const;
  std::vector<double> numbers(const std::string& key) const;

  /// Prints a line for an array and remembers whether it is within the tolerance.
  void compare(const std::string& array, const Tensor& actual);
  void report(const std::string& array, double error);
  void fail_as_unknown();
  bool passed() const { return passed_; }

 private:
  TensorFile file_;
  std::string name_;
  DType dtype_;
  Device device_;
  OperatorForm form_ = OperatorForm::automatic;
  double tolerance_;
  std::ostream& out_;
  bool passed_ = true;
};

/// The parameters of a module by our names.
using ParameterMap = std::map<std::string, Var>;
template <class Module>
ParameterMap parameter_map(Module& module) {
  ParameterMap result;
  for (const Parameter& parameter : parameters(module)) result[parameter.name] = parameter.variable;
  return result;
}

/// Writes the arrays PREFIX + name into the parameters, which move to the device of the run. Throws
/// Error unless every parameter, and no other, is given.
void load(const GoldenCase& c, const std::string& prefix, ParameterMap& parameters);

/// Compares the arrays PREFIX + name with what `value` gives for our parameters. Throws Error if
/// there is none.
void compare_all(GoldenCase& c, const std::string& prefix, ParameterMap& parameters,
                 const std::function<Tensor(const Var&)>& value);

/// Compares a training run of a language model, step by step and at its end.
void verify_training(GoldenCase& c);

}  // namespace vla
