#include "models/vla/inverse_penalty.hpp"

#include <cmath>

#include "framework/ops/shaping.hpp"
#include "models/vla/inverse_penalty_cuda.hpp"
#include "models/vla/penalty_arrays.hpp"

namespace vla {
namespace {

void check_lambda0(const Tensor& values) {
  const Tensor lambda0 = values.to(DType::float64);
  for (Index h = 0; h < lambda0.elements(); ++h) {
    const double start = lambda0.data<double>()[h];
    check(start > 0 && std::isfinite(start), "inverse penalty: lambda0 of head ", h, " is ", start,
          "; a positive number is needed");
  }
}

PenaltySizes checked_sizes(const Var& x, const Penalty& penalty,
                           const InversePenaltyOptions& options) {
  check(x.defined() && penalty.directions.defined() && penalty.lambda0.defined(),
        "inverse_penalty: x, directions and lambda0 are needed");
  const Shape& s = x.shape();
  check(s.rank() == 4 || s.rank() == 5, "inverse_penalty: x has shape ", s,
        "; (B, T, H, d) or (B, T, H, n, d) is needed");
  const Shape& u = penalty.directions.shape();
  check((u.rank() == 4 || u.rank() == 5) && u[0] == s[0] && u[1] == s[1] && u[2] == s[2] &&
            u[-1] == s[-1],
        "inverse_penalty: directions ", u, " do not fit x ", s);
  const PenaltySizes n{s[0], s[1], s[2], s.rank() == 5 ? s[3] : 1, u.rank() == 5 ? u[3] : 1, s[-1]};
  if (penalty.weights.defined())
    check(penalty.weights.shape() == u.without(-1), "inverse_penalty: weights ",
          penalty.weights.shape(), " do not fit directions ", u);
  if (penalty.forget.defined())
    check(penalty.forget.shape() == Shape({n.batch, n.time, n.heads}), "inverse_penalty: forget ",
          penalty.forget.shape(), " is not (", n.batch, ", ", n.time, ", ", n.heads, ")");
  check(penalty.lambda0.shape() == Shape({n.heads}), "inverse_penalty: lambda0 ",
        penalty.lambda0.shape(), " is not (", n.heads, ")");
  const bool narrow = x.dtype() == DType::bfloat16;  // weights and lambda0 need not be
  for (const Var* part : {&penalty.directions, &penalty.weights, &penalty.forget, &penalty.lambda0})
    if (part->defined())
      check((part->dtype() == x.dtype() || (narrow && part->dtype() == DType::float32)) &&
                part->device() == x.device(),
            "inverse_penalty: inputs are ", x.dtype(), " on ", x.device(), " and ", part->dtype(),
            " on ", part->device(), "; one type and one device are needed");
  const PenaltyState& state = options.initial;
  for (const Tensor* part : {&state.penalty, &state.inverse, &state.kept}) {
    check(!part->defined() || part->dtype() == DType::float64,
          "inverse_penalty: the initial state is ", part->dtype(), "; float64 is needed");
    check(!part->defined() || part->device() == x.device(),
          "inverse_penalty: inputs and initial state differ in device");
  }
  if (state.penalty.defined()) {
    const Shape matrices{n.batch, n.heads, n.width, n.width};
    check(state.penalty.shape() == matrices, "inverse_penalty: the initial M ",
          state.penalty.shape(), " is not ", matrices);
    check(!state.inverse.defined() || state.inverse.shape() == matrices,
          "inverse_penalty: the initial A ", state.inverse.shape(), " is not ", matrices);
    check(state.kept.defined() && state.kept.shape() == Shape({n.batch, n.heads}),
          "inverse_penalty: an initial M needs `kept` of shape (", n.batch, ", ", n.heads, ")");
  }
  check(state.tokens >= 0 && (state.penalty.defined() || state.tokens == 0),
        "inverse_penalty: ", state.tokens, " tokens before, but no initial M");
  on_device(
      "inverse_penalty", x.device(), [&] { check_lambda0(penalty.lambda0.value()); },
      [] {});  // the kernels report it
  check(options.chunk >= 0, "inverse_penalty: chunks of ", options.chunk,
        " tokens; 1 or more, or 0 for the usual");
  check(options.restore_period >= 0, "inverse_penalty: restore period ", options.restore_period,
        " is negative");
  return n;
}

std::vector<Tensor> gradients(const PenaltySizes& n, const InversePenaltyOptions& options,
                              const BackwardContext& at) {
  const Tensor &x = at.saved(0), &u = at.saved(1), &weights = at.saved(2);
  const Tensor &forget = at.saved(3), &lambda0 = at.saved(4), &y = at.saved(5);
  const PenaltyFactors factors{at.saved(6), at.saved(7), at.saved(8)};
  Tensor dx = zeros_like(x), du = zeros_like(u), dweights = zeros_like(weights);
  Tensor dforget = zeros_like(forget), dlambda0 = zeros_like(lambda0);
  dispatch_floating(x.dtype(), "inverse_penalty", [&](auto zero) {
    using T = decltype(zero);
    const PenaltyArrays<T> in(n, options, u, weights, forget, lambda0);
    Tensor dlambda0_parts = Tensor::zeros({n.batch, n.heads}, x.dtype(), x.device());
    const PenaltyGradients<T> out{dx.mutable_data<T>(), du.mutable_data<T>(),
                                  weights.defined() ? dweights.mutable_data<T>() : nullptr,
                                  forget.defined() ? dforget.mutable_data<T>() : nullptr,
                                  dlambda0_parts.mutable_data<T>()};
    const T* upstream = at.gradient().data<T>();
    T* sums = dlambda0.mutable_data<T>();
    const Device device = x.device();
    const auto on_cpu = [&] {
      if (factors.z.defined())
        adjoint_by_chunk(in, x.data<T>(), y.data<T>(), upstream, factors, out);
      else
        adjoint_by_step(in, x.data<T>(), upstream, out);
      for (Index i = 0; i < n.batch * n.heads; ++i) sums[i % n.heads] += out.lambda0[i];
    };
    on_device("inverse_penalty", device, on_cpu, [&] {
      if (factors.z.defined())
        cuda::adjoint_by_chunk(in, x.data<T>(), y.data<T>(), upstream, factors, out, device);
      else
        cuda::adjoint_by_step(in, x.data<T>(), upstream, out, device);
      cuda::sum_over_batch(out.lambda0, n, sums, device);
    });
  });
  return {dx, du, dweights, dforget, dlambda0};
}

// Whether the kernels on tensor cores are for this: the usual penalty, as in exact VLA.
bool runs_on_tensor_cores(const Var& x, const Penalty& penalty,
                          const InversePenaltyOptions& options) {
  const Var& u = penalty.directions;
  if (!x.defined() || !u.defined() || u.dtype() != x.dtype() || penalty.forget.defined())
    return false;
  const auto one_per_token = [](const Shape& s) {
    return s.rank() == 4 || (s.rank() == 5 && s[3] == 1);
  };
  const PenaltyState& state = options.initial;
  const bool begins = !state.penalty.defined() && !state.inverse.defined() &&
                      !state.kept.defined() && state.tokens == 0;
  if (!one_per_token(x.shape()) || !one_per_token(u.shape()) || !begins || options.chunk != 0 ||
      options.restore_period != 0 || options.form == OperatorForm::step ||
      x.size(1) <= kFewTokens || x.value().elements() == 0)
    return false;
  return on_device(
      "inverse_penalty", x.device(), [] { return false; },
      [&] { return cuda::tensor_cores_fit_penalty(x.size(-1), x.dtype(), x.device()); });
}

// Calls function with a number of that type, which is bfloat16 or float32.
template <class Function>
void dispatch_narrow(DType dtype, Function&& function) {
  if (dtype == DType::bfloat16)
    function(BFloat16());
  else
    function(float());
}

template <class T>
cuda::TensorCorePenalty<T> tensor_core_arrays(const PenaltySizes& n, const Tensor& x,
                                              const Tensor& u, const Tensor& weights,
                                              const Tensor& lambda0) {
  return {{n.batch, n.time, n.heads, static_cast<int>(n.width), 0},
          x.data<T>(),
          u.data<T>(),
          data_or_null<float>(weights),
          lambda0.data<float>()};
}

// `own`: x is the directions.
std::vector<Tensor> tensor_core_gradients(const PenaltySizes& n, bool own,
                                          const BackwardContext& at) {
  const Tensor &x = at.saved(0), &u = at.saved(1), &weights = at.saved(2), &lambda0 = at.saved(3);
  Tensor dx = own ? Tensor() : empty_like(x), du = empty_like(u), dlambda0 = empty_like(lambda0);
  Tensor dweights = weights.defined() ? empty_like(weights) : Tensor();
  dispatch_narrow(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto in = tensor_core_arrays<T>(n, x, u, weights, lambda0);
    const cuda::TensorCoreGradients<T> out{
        own ? nullptr : dx.mutable_data<T>(), du.mutable_data<T>(),
        weights.defined() ? dweights.mutable_data<float>() : nullptr,
        dlambda0.mutable_data<float>()};
    on_device(
        "inverse_penalty", x.device(), [] {},
        [&] {
          cuda::adjoint_on_tensor_cores(in, at.saved(4), at.gradient().data<T>(), out, x.device());
        });
  });
  return {dx, du, dweights, dlambda0};
}

InversePenaltyResult on_tensor_cores(const PenaltySizes& n, const Var& x, const Penalty& penalty,
                                     CallSite site) {
  // One number a token, and one a head: bfloat16 would save nothing.
  const auto wide = [&](const Var& part) {
    return part.defined() && part.dtype() == DType::bfloat16 ? cast(part, DType::float32, site)
                                                             : part;
  };
  const Var &u = penalty.directions, weights = wide(penalty.weights),
            lambda0 = wide(penalty.lambda0);
  const bool own = x.identity() == u.identity();
  const Device device = x.device();
  Tensor y = empty_like(x.value()), starts;
  PenaltyState state{
      .penalty = Tensor({n.batch, n.heads, n.width, n.width}, DType::float64, device),
      .kept = Tensor::full({n.batch, n.heads}, 1, DType::float64, device),
      .tokens = n.time};
  const Tensor weight_values = value_or_none(weights);
  dispatch_narrow(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto in = tensor_core_arrays<T>(n, x.value(), u.value(), weight_values, lambda0.value());
    on_device(
        "inverse_penalty", device, [] {},
        [&] {
          starts = cuda::apply_on_tensor_cores(in, y.mutable_data<T>(),
                                               state.penalty.mutable_data<double>(), device);
        });
  });
  Var output = record(
      "inverse_penalty", y, {own ? Var() : x, u, weights, lambda0},
      {x.value(), u.value(), weight_values, lambda0.value(), starts},
      [n, own](const BackwardContext& at) { return tensor_core_gradients(n, own, at); }, site);
  return {output, state};
}

// The same with everything narrower than `dtype` widened to it; the output is of the type of x.
InversePenaltyResult computed_in(DType dtype, const Var& x, const Penalty& penalty,
                                 const InversePenaltyOptions& options, CallSite site) {
  const auto wide = [&](const Var& part) {
    const bool narrow = part.defined() && element_bytes(part.dtype()) < element_bytes(dtype);
    return narrow ? cast(part, dtype, site) : part;
  };
  const Var directions = wide(penalty.directions);
  const bool own = x.identity() == penalty.directions.identity();
  InversePenaltyResult result = inverse_penalty(own ? directions : wide(x),
                                                {.directions = directions,
                                                 .weights = wide(penalty.weights),
                                                 .forget = wide(penalty.forget),
                                                 .lambda0 = wide(penalty.lambda0)},
                                                options, site);
  result.output = cast(result.output, x.dtype(), site);
  return result;
}

}  // namespace

InversePenaltyResult inverse_penalty(const Var& x, const Penalty& penalty,
                                     const InversePenaltyOptions& options, CallSite site) {
  const bool tensor_cores = runs_on_tensor_cores(x, penalty, options);
  // Elsewhere bfloat16 is for what goes in and out.
  if (!tensor_cores && x.defined() && x.dtype() == DType::bfloat16)
    return computed_in(DType::float32, x, penalty, options, site);
  const PenaltySizes n = checked_sizes(x, penalty, options);
  if (tensor_cores) return on_tensor_cores(n, x, penalty, site);
  const Tensor weights = value_or_none(penalty.weights), forget = value_or_none(penalty.forget);
  const Tensor &u = penalty.directions.value(), &lambda0 = penalty.lambda0.value();
  const std::vector<Var> inputs{x, penalty.directions, penalty.weights, penalty.forget,
                                penalty.lambda0};
  const Device device = x.device();
  const bool only_by_step = on_device(
      "inverse_penalty", device, [] { return false; },
      [&] { return cuda::only_by_step(forget, options); });
  const bool by_step = only_by_step || resolved_form(options.form, n.time) == OperatorForm::step;
  // With forgetting M may become as ill-conditioned as 1 / (product of gamma), and A amplifies
  // rounding by that: float32 would lose the gradients (of 1e-3 where float64 gives 1e-5).
  if (!by_step && penalty.forget.defined() && x.dtype() == DType::float32)
    return computed_in(DType::float64, x, penalty, options, site);
  const Shape matrices{n.batch, n.heads, n.width, n.width};
  Tensor y = empty_like(x.value());
  PenaltyState state{.penalty = Tensor(matrices, DType::float64, device),
                     .kept = Tensor({n.batch, n.heads}, DType::float64, device),
                     .tokens = options.initial.tokens + n.time};
  if (by_step) state.inverse = Tensor(matrices, DType::float64, device);
  PenaltyFactors factors;
  dispatch_floating(x.dtype(), "inverse_penalty", [&](auto zero) {
    using T = decltype(zero);
    const PenaltyArrays<T> in(n, options, u, weights, forget, lambda0);
    const PenaltyStateArrays last{state.penalty.mutable_data<double>(),
                                  by_step ? state.inverse.mutable_data<double>() : nullptr,
                                  state.kept.mutable_data<double>()};
    const T* vectors = x.value().data<T>();
    T* results = y.mutable_data<T>();
    PenaltyFactors* kept = will_be_recorded(inputs) ? &factors : nullptr;
    const auto on_cpu = [&] {
      if (by_step)
        apply_by_step(in, vectors, results, last);
      else
        apply_by_chunk(in, vectors, results, last, kept);
    };
    on_device("inverse_penalty", device, on_cpu, [&] {
      if (by_step)
        cuda::apply_by_step(in, vectors, results, last, device);
      else
        cuda::apply_by_chunk(in, vectors, results, last, kept, device);
    });
  });
  Var output = record(
      "inverse_penalty", y, inputs,
      {x.value(), u, weights, forget, lambda0, y, factors.z, factors.gains, factors.starts},
      [n, options](const BackwardContext& at) { return gradients(n, options, at); }, site);
  return {output, state};
}

}  // namespace vla
