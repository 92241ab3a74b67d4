// Functions of one variable, element by element, on tensors of any shape. The result has the shape,
// element type and device of x. x is float32 or float64; any other element type throws Error.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// -x.
Var neg(const Var& x, CallSite site = CallSite::here());
/// |x|, with slope 0 at 0.
Var abs(const Var& x, CallSite site = CallSite::here());
/// e to the power of x.
Var exp(const Var& x, CallSite site = CallSite::here());
/// Natural logarithm.
Var log(const Var& x, CallSite site = CallSite::here());
/// Square root; its slope at 0 is infinite.
Var sqrt(const Var& x, CallSite site = CallSite::here());
/// x x.
Var square(const Var& x, CallSite site = CallSite::here());
/// x to a constant power.
Var pow(const Var& x, double exponent, CallSite site = CallSite::here());
/// Hyperbolic tangent.
Var tanh(const Var& x, CallSite site = CallSite::here());
/// 1 / (1 + exp(-x)).
Var sigmoid(const Var& x, CallSite site = CallSite::here());
/// x sigmoid(x).
Var silu(const Var& x, CallSite site = CallSite::here());
/// max(x, 0), with slope 0 at 0.
Var relu(const Var& x, CallSite site = CallSite::here());
/// x times the normal distribution function of x, by the error function. Source: Hendrycks, Gimpel,
/// "Gaussian error linear units", 2016.
Var gelu(const Var& x, CallSite site = CallSite::here());
/// The approximation of gelu by tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
Var gelu_tanh(const Var& x, CallSite site = CallSite::here());
/// x for x > 0, exp(x) - 1 otherwise. Source: Clevert et al., "Fast and accurate deep network
/// learning by exponential linear units", 2016.
Var elu(const Var& x, CallSite site = CallSite::here());
/// elu(x) + 1, the positive feature map of linear attention: x + 1 for x > 0, exp(x) otherwise.
/// Source: Katharopoulos et al., "Transformers are RNNs", 2020.
Var elu_plus_one(const Var& x, CallSite site = CallSite::here());
/// log(1 + exp(x)).
Var softplus(const Var& x, CallSite site = CallSite::here());
/// x limited to [low, high], with slope 1 inside and at the limits, 0 outside. Throws Error unless
/// low <= high.
Var clamp(const Var& x, double low, double high, CallSite site = CallSite::here());

}  // namespace vla
