#include "framework/nn/layers.hpp"

#include <cmath>

#include "framework/ops/convolution.hpp"
#include "framework/ops/dropout.hpp"
#include "framework/ops/embedding.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/shaping.hpp"

namespace vla {
namespace {

Var linear_weight(Index in, Index out, Rng& rng, LinearOptions options) {
  check(options.deviation >= 0 && std::isfinite(options.deviation), "linear layer: deviation ",
        options.deviation, " is not allowed; 0 or more");
  return options.deviation > 0
             ? normal_parameter({out, in}, options.deviation, rng, options.dtype)
             : uniform_parameter({out, in}, std::max<Index>(1, in), rng, options.dtype);
}

Var linear_bias(Index in, Index out, Rng& rng, LinearOptions options) {
  if (!options.bias) return {};
  return options.deviation > 0
             ? constant_parameter({out}, 0, options.dtype)
             : uniform_parameter({out}, std::max<Index>(1, in), rng, options.dtype);
}

}  // namespace

Var normal_parameter(const Shape& shape, double deviation, Rng& rng, DType dtype) {
  return Var::parameter(rng.normal(shape, dtype, 0, deviation));
}

Var uniform_parameter(const Shape& shape, Index fan_in, Rng& rng, DType dtype) {
  check(fan_in >= 1, "uniform start: fan-in ", fan_in, " is not allowed; 1 or more");
  const double bound = std::sqrt(1.0 / static_cast<double>(fan_in));
  return Var::parameter(rng.uniform(shape, dtype, -bound, bound));
}

Var constant_parameter(const Shape& shape, double value, DType dtype) {
  return Var::parameter(Tensor::full(shape, value, dtype));
}

Linear::Linear(Index in, Index out, Rng& rng, LinearOptions options)
    : weight(linear_weight(in, out, rng, options)), bias(linear_bias(in, out, rng, options)) {}

Var Linear::operator()(const Var& x, CallSite site) const { return linear(x, weight, bias, site); }

void Linear::visit(PartVisitor& parts) {
  parts("weight", weight);
  parts("bias", bias);
}

Embedding::Embedding(Index count, Index width, Rng& rng, double deviation, DType dtype)
    : weight(normal_parameter({count, width}, deviation, rng, dtype)) {}

Var Embedding::operator()(const Tensor& tokens, CallSite site) const {
  return embedding(weight, tokens, site);
}

void Embedding::visit(PartVisitor& parts) { parts("weight", weight); }

LayerNorm::LayerNorm(Index width, double epsilon, DType dtype)
    : weight(constant_parameter({width}, 1, dtype)),
      bias(constant_parameter({width}, 0, dtype)),
      epsilon(epsilon) {}

Var LayerNorm::operator()(const Var& x, CallSite site) const {
  return layer_norm(x, weight, bias, epsilon, site);
}

void LayerNorm::visit(PartVisitor& parts) {
  parts("weight", weight);
  parts("bias", bias);
}

RmsNorm::RmsNorm(Index width, double epsilon, DType dtype)
    : weight(constant_parameter({width}, 1, dtype)), epsilon(epsilon) {}

Var RmsNorm::operator()(const Var& x, CallSite site) const {
  return rms_norm(x, weight, epsilon, site);
}

void RmsNorm::visit(PartVisitor& parts) { parts("weight", weight); }

Var Dropout::operator()(const Var& x, CallSite site) {
  return dropout(x, {.rate = rate, .train = train}, rng, site);
}

ShortConvolution::ShortConvolution(Index width, Index taps, Rng& rng, DType dtype)
    : weight(uniform_parameter({width, taps}, taps, rng, dtype)) {}

Var ShortConvolution::operator()(const Var& x, CallSite site) const {
  return causal_convolution(x, weight, site);
}

Var ShortConvolution::operator()(const Var& x, Tensor& tail, CallSite site) const {
  const Index before = weight.size(1) - 1;
  if (!tail.defined()) tail = Tensor::zeros({x.size(0), before, x.size(2)}, x.dtype(), x.device());
  check(tail.rank() == 3 && tail.size(1) == before, "convolution: the tail has shape ",
        tail.shape(), "; (", x.size(0), ", ", before, ", ", x.size(2), ") is needed");
  const Var all = concat({Var(tail), x}, 1, site);
  const Var y = slice((*this)(all, site), 1, before, all.size(1), site);
  tail = slice(detach(all), 1, all.size(1) - before, all.size(1)).value();
  return y;
}

void ShortConvolution::visit(PartVisitor& parts) { parts("weight", weight); }

Mlp::Mlp(Index width, Index hidden, Rng& rng, LinearOptions options)
    : up(width, hidden, rng, options), down(hidden, width, rng, options) {}

Var Mlp::operator()(const Var& x, CallSite site) const {
  return down(gelu(up(x, site), site), site);
}

void Mlp::visit(PartVisitor& parts) {
  parts("up", up);
  parts("down", down);
}

}  // namespace vla
