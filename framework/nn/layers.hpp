// The usual layers, written only with what a user also has. Parameters are float32 unless a dtype
// is given; their starting values come from the Rng handed to the constructor. Ops that a layer is
// made of are named in errors with the line that calls the layer.
#pragma once

#include "framework/nn/module.hpp"
#include "framework/random.hpp"

namespace vla {

/// Normal with mean 0: the starting value of the weights of a language model.
Var normal_parameter(const Shape& shape, double deviation, Rng& rng, DType dtype = DType::float32);
/// Uniform in +-sqrt(1 / fan_in): the usual start of a linear layer by itself.
Var uniform_parameter(const Shape& shape, Index fan_in, Rng& rng, DType dtype = DType::float32);
/// Every element `value`.
Var constant_parameter(const Shape& shape, double value, DType dtype = DType::float32);

/// How an affine map starts.
struct LinearOptions {
  bool bias = true;
  double deviation = 0;  ///< > 0: weights normal with this deviation and bias 0; 0: uniform start
  DType dtype = DType::float32;
};

/// y = x W^T + b; x (..., in) -> (..., out).
struct Linear {
  Var weight;  // (out, in)
  Var bias;    // (out), or not defined
  /// Throws Error for negative sizes.
  Linear(Index in, Index out, Rng& rng, LinearOptions options = {});
  /// x (..., in) -> (..., out). Throws Error for another last axis.
  Var operator()(const Var& x, CallSite site = CallSite::here()) const;
  void visit(PartVisitor& parts);
};

/// Rows of a table: tokens of shape S -> (S, width). Starts normal.
struct Embedding {
  Var weight;  // (count, width)
  /// Weights normal with mean 0 and `deviation`.
  Embedding(Index count, Index width, Rng& rng, double deviation = 0.02,
            DType dtype = DType::float32);
  /// Throws Error for a token outside the table: see embedding().
  Var operator()(const Tensor& tokens, CallSite site = CallSite::here()) const;
  void visit(PartVisitor& parts);
};

/// Mean 0 and variance 1 over the last axis, then * weight + bias; x (..., width) -> same.
struct LayerNorm {
  Var weight, bias;  // (width), start at 1 and 0
  double epsilon;
  /// `epsilon` is added to the variance.
  explicit LayerNorm(Index width, double epsilon = 1e-5, DType dtype = DType::float32);
  /// x (..., width) -> same. Throws Error for another last axis.
  Var operator()(const Var& x, CallSite site = CallSite::here()) const;
  void visit(PartVisitor& parts);
};

/// Mean square 1 over the last axis, then * weight; x (..., width) -> same.
struct RmsNorm {
  Var weight;  // (width), starts at 1
  double epsilon;
  /// `epsilon` is added to the mean square.
  explicit RmsNorm(Index width, double epsilon = 1e-5, DType dtype = DType::float32);
  /// x (..., width) -> same. Throws Error for another last axis.
  Var operator()(const Var& x, CallSite site = CallSite::here()) const;
  void visit(PartVisitor& parts);
};

/// Dropout with a stream of its own, active while `train` is true.
struct Dropout {
  double rate;
  bool train = true;
  Rng rng;
  /// `rate` is the probability of an element to be zeroed, from 0 to below 1.
  Dropout(double rate, Rng rng) : rate(rate), rng(rng) {}
  /// x of any shape -> same: see dropout(). Throws Error for a rate that is not allowed.
  Var operator()(const Var& x, CallSite site = CallSite::here());
  void visit(PartVisitor&) {}
};

/// Causal depthwise convolution of a few taps, without bias; x (B, T, width) -> same.
struct ShortConvolution {
  Var weight;  // (width, taps), uniform start with fan-in `taps`
  /// `taps` of them, the last for the token itself.
  ShortConvolution(Index width, Index taps, Rng& rng, DType dtype = DType::float32);
  /// x (B, T, width) -> same. Throws Error for another shape.
  Var operator()(const Var& x, CallSite site = CallSite::here()) const;
  /// The same for a block of a sequence. `tail`, the last inputs before it (B, taps - 1, width) and
  /// not defined at the start, becomes that of the next block. No gradient flows through it. Throws
  /// Error for a tail that does not fit.
  Var operator()(const Var& x, Tensor& tail, CallSite site = CallSite::here()) const;
  void visit(PartVisitor& parts);
};

/// down(gelu(up(x))).
struct Mlp {
  Linear up, down;
  /// width -> hidden -> width.
  Mlp(Index width, Index hidden, Rng& rng, LinearOptions options = {});
  /// x (..., width) -> same. Throws Error for another last axis.
  Var operator()(const Var& x, CallSite site = CallSite::here()) const;
  void visit(PartVisitor& parts);
};

}  // namespace vla
