// Checks a gradient against finite differences.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/tape.hpp"

namespace vla {

/// What gradcheck compares, and how far apart values may be.
struct GradcheckOptions {
  double epsilon = 1e-6;   ///< step of the central difference
  double absolute = 1e-5;  ///< allowed |analytic - numeric| beyond the relative part
  double relative = 1e-3;  ///< allowed share of |numeric|
  int directions = 2;      ///< random directions over all elements of an input
  int elements = 8;        ///< single elements per input, drawn at random; all if there are fewer
  std::uint64_t seed = 1;
  Device device = {};  ///< where the function runs; differences are taken on the CPU
};

/// An op or a layer as gradcheck sees it: variables in, one variable out.
using GradcheckFunction = std::function<Var(const std::vector<Var>&)>;

/// Compares the gradient of sum(weights * function(inputs)), for fixed random weights, with central
/// differences along random directions and single elements of every input. Inputs are float64.
/// Throws Error that names `name`, the input, the element (or direction) and both values.
/// Returns the largest |analytic - numeric| / (absolute + relative |numeric|) seen, at most 1.
double gradcheck(const std::string& name, const GradcheckFunction& function,
                 const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace vla
