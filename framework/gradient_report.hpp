// What the gradients of a model are like: per parameter and per layer, as a table and as CSV.
//
//   const Gradients gradients = tape.backward(loss);
//   GradientReport report(parameters(model), gradients);
//   adam.step(gradients);
//   report.after_step();
//   std::cout << report.table();
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "framework/nn/module.hpp"

namespace vla {

/// The gradient of a parameter, or of all parameters of a layer together. Elements that are not
/// finite are counted, and left out of the rest.
struct GradientRow {
  std::string name;
  Index elements = 0;
  bool has_gradient = false;  ///< false: it took no part in the loss, and the rest is 0
  double norm = 0;            ///< Euclidean
  double mean = 0;
  double largest = 0;      ///< absolute value
  double zeros = 0;        ///< share of elements that are 0
  Index not_finite = 0;    ///< elements
  double weight_norm = 0;  ///< of the parameter, before the step
  /// Norm of the parameter's change by the optimiser's step over `weight_norm`. Not a number before
  /// `after_step`, where the parameter was 0, and if no parameter was written to between the report
  /// and `after_step`: a report that is made after the step does not know what it changed.
  double update = std::numeric_limits<double>::quiet_NaN();
  /// Elements of the gradient by the size of |g|: below 1e-9, then decade by decade, from 10 on;
  /// see `decades_of`. Zeros are not among them.
  std::vector<Index> decades;
};

/// The gradients of one backward walk, and what a step of the optimiser made of them.
class GradientReport {
 public:
  static constexpr int kLowestDecade = -10, kDecades = 12;
  /// How parameters are summed up.
  struct Options {
    int depth = 2;  ///< parts of a parameter's name that name its layer: "blocks.0"
  };

  /// Looks at the gradients and keeps a copy of the parameters, so that it can tell what the step
  /// has changed. On CUDA both are brought to the CPU, which waits for the device.
  ///@{
  GradientReport(const std::vector<Parameter>& parameters, const Gradients& gradients,
                 Options options);
  GradientReport(const std::vector<Parameter>& parameters, const Gradients& gradients)
      : GradientReport(parameters, gradients, Options{}) {}
  ///@}

  /// To be told when the optimiser has moved the parameters: fills in `update` and drops the
  /// copies. Throws Error if it was told before, or if a parameter has another shape or type now.
  void after_step();

  /// In the order of the parameters, and of the first parameter of each layer. A layer is what
  /// begins with the same `depth` parts of the name, never the last part alone.
  ///@{
  const std::vector<GradientRow>& parameters() const { return parameters_; }
  const std::vector<GradientRow>& layers() const { return layers_; }
  ///@}

  /// Two tables, layers and parameters. The last column has a digit for each of the twelve decades
  /// of |g|: tenths of the elements that are in it, "." for none and 0 for less than a tenth.
  std::string table() const;
  /// One table of numbers, whose column `kind` is "parameter" or "layer".
  std::string csv() const;

 private:
  void sum_up_layers();

  Options options_;
  std::vector<Parameter> watched_;
  std::vector<Tensor> before_;           // on the CPU, until `after_step`
  std::vector<std::uint64_t> versions_;  // of the parameters' tensors, when that copy was made
  std::vector<double> changes_;          // norms, from then on
  std::vector<GradientRow> parameters_, layers_;
};

}  // namespace vla
