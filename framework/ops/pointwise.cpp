#include "framework/ops/pointwise.hpp"

#include "framework/ops/pointwise_functions.hpp"

namespace vla {

using namespace pointwise;

Var neg(const Var& x, CallSite site) { return elementwise<Neg>(x, {}, site); }
Var abs(const Var& x, CallSite site) { return elementwise<Abs>(x, {}, site); }
Var exp(const Var& x, CallSite site) { return elementwise<Exp>(x, {}, site); }
Var log(const Var& x, CallSite site) { return elementwise<Log>(x, {}, site); }
Var sqrt(const Var& x, CallSite site) { return elementwise<Sqrt>(x, {}, site); }
Var square(const Var& x, CallSite site) { return elementwise<Square>(x, {}, site); }
Var pow(const Var& x, double exponent, CallSite site) {
  return elementwise(x, Power{exponent}, site);
}
Var tanh(const Var& x, CallSite site) { return elementwise<Tanh>(x, {}, site); }
Var sigmoid(const Var& x, CallSite site) { return elementwise<Sigmoid>(x, {}, site); }
Var silu(const Var& x, CallSite site) { return elementwise<Silu>(x, {}, site); }
Var relu(const Var& x, CallSite site) { return elementwise<Relu>(x, {}, site); }
Var gelu(const Var& x, CallSite site) { return elementwise<Gelu>(x, {}, site); }
Var gelu_tanh(const Var& x, CallSite site) { return elementwise<GeluTanh>(x, {}, site); }
Var elu(const Var& x, CallSite site) { return elementwise<Elu>(x, {}, site); }
Var elu_plus_one(const Var& x, CallSite site) { return elementwise<EluPlusOne>(x, {}, site); }
Var softplus(const Var& x, CallSite site) { return elementwise<Softplus>(x, {}, site); }
Var clamp(const Var& x, double low, double high, CallSite site) {
  check(low <= high, "clamp: low ", low, " is above high ", high);
  return elementwise(x, Clamp{low, high}, site);
}

}  // namespace vla
