#include "framework/ops/pointwise_functions.hpp"

namespace vla::cuda {

using namespace pointwise;

template struct Elementwise<Neg>;
template struct Elementwise<Abs>;
template struct Elementwise<Exp>;
template struct Elementwise<Log>;
template struct Elementwise<Sqrt>;
template struct Elementwise<Square>;
template struct Elementwise<Power>;
template struct Elementwise<Tanh>;
template struct Elementwise<Sigmoid>;
template struct Elementwise<Silu>;
template struct Elementwise<Relu>;
template struct Elementwise<Gelu>;
template struct Elementwise<GeluTanh>;
template struct Elementwise<Elu>;
template struct Elementwise<EluPlusOne>;
template struct Elementwise<Softplus>;
template struct Elementwise<Clamp>;

}  // namespace vla::cuda
