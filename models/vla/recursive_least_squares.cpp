#include "models/vla/recursive_least_squares.hpp"

#include "framework/ops/shaping.hpp"
#include "models/attention.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/recursive_least_squares_cuda.hpp"
#include "models/vla/recursive_least_squares_step_cuda.hpp"

namespace vla {
namespace {

constexpr Index kRenewPeriod = 64;  // tokens after which steps form A anew: more than kFewTokens

cuda::LeastSquaresSizes sizes_of(const LeastSquaresInputs& in) {
  const Shape& k = in.key.shape();
  return {k[0], k[1], k[2], static_cast<int>(k[3]), static_cast<int>(in.value.size(3))};
}

// Calls function with a number of the inputs' type, which is bfloat16 or float32.
template <class Function>
void dispatch_input(DType dtype, Function&& function) {
  if (dtype == DType::bfloat16)
    function(BFloat16());
  else
    function(float());
}

void check_state(const LeastSquaresState& state, const cuda::LeastSquaresSizes& n, Device device) {
  check(state.tokens >= 0 && state.penalty.defined() == (state.tokens > 0),
        "least_squares_steps: ", state.tokens, " tokens before, ",
        state.penalty.defined() ? "and" : "but no", " initial state");
  if (state.tokens == 0) return;
  const Shape matrices{n.batch, n.heads, n.key, n.key};
  const auto check_part = [&](const Tensor& part, const Shape& shape, DType dtype) {
    check(
        part.defined() && part.shape() == shape && part.dtype() == dtype && part.device() == device,
        "least_squares_steps: the initial state has ", part.dtype(), " ", part.shape(), " on ",
        part.device(), " where ", dtype, " ", shape, " on ", device, " is needed");
  };
  check_part(state.penalty.penalty, matrices, DType::float64);
  check_part(state.penalty.matrix, matrices, DType::float32);
  check_part(state.penalty.diagonal, matrices.without(3), DType::float32);
  check_part(state.memory, matrices.with(2, n.value), DType::float32);
}

// M = lambda0 I; S is left undefined.
LeastSquaresState started(const Tensor& lambda0, const cuda::LeastSquaresSizes& n) {
  const Device device = lambda0.device();
  Tensor penalty({n.batch, n.heads, n.key, n.key}, DType::float64, device);
  const Tensor wide = lambda0.to(DType::float32);
  on_device(
      "least_squares_steps", device, [] {},
      [&] {
        cuda::start_penalty({n.batch, n.heads, n.key}, wide.data<float>(),
                            penalty.mutable_data<double>(), device);
      });
  return {.penalty = pack(penalty)};
}

template <class T, class Weight>
void take_steps(const LeastSquaresInputs& in, const cuda::LeastSquaresSizes& n,
                const LeastSquaresState& from, Tensor& output, LeastSquaresState& state) {
  const Device device = output.device();
  const cuda::StepInputs<T, Weight> inputs{n, in.query.value().data<T>(), in.key.value().data<T>(),
                                           in.value.value().data<T>(),
                                           in.weight.value().data<Weight>()};
  const PackedPenalty& penalty = from.penalty;
  const cuda::StepState<const float> before{
      {penalty.matrix.data<float>(), penalty.diagonal.data<float>()},
      from.memory.defined() ? from.memory.data<float>() : nullptr};
  const cuda::StepState<float> after{
      {state.penalty.matrix.mutable_data<float>(), state.penalty.diagonal.mutable_data<float>()},
      state.memory.mutable_data<float>()};
  T* o = output.mutable_data<T>();
  const Index left = kRenewPeriod - from.tokens % kRenewPeriod, end = std::min(left, n.time);
  on_device(
      "least_squares_steps", device, [] {},
      [&] {
        cuda::least_squares_steps(inputs, 0, end, before, after, o, device);
        if (end < left) return;
        state.penalty.penalty = empty_like(penalty.penalty);
        cuda::renew({n.batch, n.heads, n.key}, penalty.penalty.data<double>(), after.packed,
                    state.penalty.penalty.mutable_data<double>(), end - 1, device);
        cuda::least_squares_steps(inputs, end, n.time,
                                  {{after.packed.matrix, after.packed.diagonal}, after.memory},
                                  after, o, device);
      });
}

template <class T>
cuda::LeastSquaresArrays<T> arrays_of(const cuda::LeastSquaresSizes& n, const Tensor& q,
                                      const Tensor& k, const Tensor& v, const Tensor& beta,
                                      const Tensor& lambda0) {
  return {n, q.data<T>(), k.data<T>(), v.data<T>(), beta.data<float>(), lambda0.data<float>()};
}

std::vector<Tensor> gradients(const cuda::LeastSquaresSizes& n, const BackwardContext& at) {
  const Tensor &q = at.saved(0), &k = at.saved(1), &v = at.saved(2), &beta = at.saved(3);
  const Tensor& lambda0 = at.saved(4);
  const cuda::LeastSquaresKept kept{at.saved(5), at.saved(6)};
  Tensor dq = empty_like(q), dk = empty_like(k), dv = empty_like(v), dbeta = empty_like(beta);
  Tensor dlambda0 = empty_like(lambda0);
  dispatch_input(q.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto in = arrays_of<T>(n, q, k, v, beta, lambda0);
    const cuda::LeastSquaresGradients<T> out{dq.mutable_data<T>(), dk.mutable_data<T>(),
                                             dv.mutable_data<T>(), dbeta.mutable_data<float>(),
                                             dlambda0.mutable_data<float>()};
    on_device(
        "recursive_least_squares", q.device(), [] {},
        [&] { cuda::least_squares_adjoint(in, kept, at.gradient().data<T>(), out, q.device()); });
  });
  return {dq, dk, dv, dbeta, dlambda0};
}

}  // namespace

void check_least_squares(const LeastSquaresInputs& in) {
  for (const Var* part : {&in.query, &in.key, &in.value, &in.weight, &in.lambda0})
    check(part->defined(),
          "recursive_least_squares: query, key, value, weight and lambda0 are needed");
  const Shape &k = in.key.shape(), &v = in.value.shape();
  check(k.rank() == 4, "recursive_least_squares: key has shape ", k, "; (B, T, H, d) is needed");
  check(in.query.shape() == k, "recursive_least_squares: query ", in.query.shape(),
        " does not fit key ", k);
  check(v.rank() == 4 && v.without(-1) == k.without(-1), "recursive_least_squares: value ", v,
        " does not fit key ", k);
  check(in.weight.shape() == k.without(-1), "recursive_least_squares: weight ", in.weight.shape(),
        " does not fit key ", k);
  check(in.lambda0.shape() == Shape({k[2]}), "recursive_least_squares: lambda0 ",
        in.lambda0.shape(), " is not (", k[2], ")");
  for (const Var* part : {&in.query, &in.value})
    check(part->dtype() == in.key.dtype(), "recursive_least_squares: queries, keys and values are ",
          in.query.dtype(), ", ", in.key.dtype(), " and ", in.value.dtype(),
          "; one type is needed");
  for (const Var* part : {&in.query, &in.value, &in.weight, &in.lambda0})
    check(part->device() == in.key.device(), "recursive_least_squares: inputs are on ",
          in.key.device(), " and ", part->device(), "; one device is needed");
}

bool has_fused_least_squares(const LeastSquaresInputs& in) {
  if (in.key.size(1) <= kFewTokens) return false;
  return on_device(
      "recursive_least_squares", in.key.device(), [] { return false; },
      [&] {
        return cuda::least_squares_fits(in.key.size(3), in.value.size(3), in.key.dtype(),
                                        in.key.device());
      });
}

LeastSquaresResult composed_least_squares(const LeastSquaresInputs& in, CallSite site) {
  check_least_squares(in);
  const InversePenaltyResult solved = inverse_penalty(
      in.key, {.directions = in.key, .weights = in.weight, .lambda0 = in.lambda0}, {}, site);
  const Var alpha = scale_heads(solved.output, cast(in.weight, in.key.dtype(), site), site);
  const DeltaRuleResult memory = delta_rule(
      {.query = in.query, .key = in.key, .coefficient = alpha, .value = in.value}, {}, site);
  return {memory.output, memory.final_state.value(), solved.state.penalty};
}

LeastSquaresResult recursive_least_squares(const LeastSquaresInputs& in, CallSite site) {
  check_least_squares(in);
  if (!has_fused_least_squares(in)) return composed_least_squares(in, site);
  const cuda::LeastSquaresSizes n = sizes_of(in);
  const Device device = in.key.device();
  // One number a token, and one a head: bfloat16 would save nothing.
  const auto wide = [&](const Var& x) {
    return x.dtype() == DType::float32 ? x : cast(x, DType::float32, site);
  };
  const Var weight = wide(in.weight), lambda0 = wide(in.lambda0);
  Tensor output = empty_like(in.value.value());
  Tensor memory({n.batch, n.heads, n.value, n.key}, DType::float32, device);
  Tensor penalty({n.batch, n.heads, n.key, n.key}, DType::float64, device);
  const bool keep = will_be_recorded({in.query, in.key, in.value, in.weight, in.lambda0});
  cuda::LeastSquaresKept kept;
  dispatch_input(in.key.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto arrays = arrays_of<T>(n, in.query.value(), in.key.value(), in.value.value(),
                                     weight.value(), lambda0.value());
    const cuda::LeastSquaresOutputs<T> out{output.mutable_data<T>(), memory.mutable_data<float>(),
                                           penalty.mutable_data<double>()};
    on_device(
        "recursive_least_squares", device, [] {},
        [&] { kept = cuda::least_squares(arrays, out, keep, device); });
  });
  Var result = record(
      "recursive_least_squares", output, {in.query, in.key, in.value, weight, lambda0},
      {in.query.value(), in.key.value(), in.value.value(), weight.value(), lambda0.value(),
       kept.starts, kept.solutions},
      [n](const BackwardContext& at) { return gradients(n, at); }, site);
  return {result, memory, penalty};
}

bool has_least_squares_steps(const LeastSquaresInputs& in) {
  const DType dtype = in.key.dtype();
  return !in.key.device().is_cpu() && in.key.size(1) <= kFewTokens &&
         (dtype == DType::bfloat16 || dtype == DType::float32) &&
         (in.weight.dtype() == DType::float32 || in.weight.dtype() == dtype) &&
         std::max(in.key.size(3), in.value.size(3)) <= kWidestPacked &&
         !will_be_recorded({in.query, in.key, in.value, in.weight, in.lambda0});
}

LeastSquaresSteps least_squares_steps(const LeastSquaresInputs& in,
                                      const LeastSquaresState& initial) {
  check_least_squares(in);
  check(has_least_squares_steps(in), "least_squares_steps: there are none for ", in.key.dtype(),
        " keys ", in.key.shape(), " and values ", in.value.shape(), " on ", in.key.device(),
        ", or a tape records them");
  const cuda::LeastSquaresSizes n = sizes_of(in);
  const Device device = in.key.device();
  check_state(initial, n, device);
  Tensor output = empty_like(in.value.value());
  if (n.time == 0) return {output, initial};
  const LeastSquaresState from = initial.tokens == 0 ? started(in.lambda0.value(), n) : initial;
  LeastSquaresState state{
      .penalty = {from.penalty.penalty, empty_like(from.penalty.matrix),
                  empty_like(from.penalty.diagonal)},
      .memory = Tensor({n.batch, n.heads, n.value, n.key}, DType::float32, device),
      .tokens = initial.tokens + n.time};
  if (in.key.dtype() == DType::float32)
    take_steps<float, float>(in, n, from, output, state);
  else if (in.weight.dtype() == DType::bfloat16)
    take_steps<BFloat16, BFloat16>(in, n, from, output, state);
  else
    take_steps<BFloat16, float>(in, n, from, output, state);
  return {output, state};
}

}  // namespace vla
