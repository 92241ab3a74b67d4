#include "models/delta_rule.hpp"

#include <algorithm>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"
#include "models/delta_rule_arrays.hpp"
#include "models/delta_rule_cuda.hpp"

namespace vla {
namespace {

constexpr Index kChunk = 64;  // tokens, where nothing else is asked for

DeltaRuleSizes checked_sizes(const DeltaRuleInputs& in) {
  check(in.query.defined() && in.coefficient.defined() && in.value.defined(),
        "delta_rule: query, coefficient and value are needed");
  const Shape& q = in.query.shape();
  check(q.rank() == 4, "delta_rule: query has shape ", q, "; (B, T, H, d) is needed");
  const Shape& v = in.value.shape();
  check(v.rank() == 4 && v[0] == q[0] && v[1] == q[1] && v[2] == q[2], "delta_rule: value ", v,
        " does not fit query ", q, "; (B, T, H, d_v) is needed");
  const DeltaRuleSizes n{q[0], q[1], q[2], q[3], v[3]};
  check(in.coefficient.shape() == q, "delta_rule: coefficient ", in.coefficient.shape(),
        " does not fit query ", q);
  if (in.key.defined())
    check(in.key.shape() == q, "delta_rule: key ", in.key.shape(), " does not fit query ", q);
  if (in.gate.defined())
    check(in.gate.shape() == v, "delta_rule: gate ", in.gate.shape(), " does not fit value ", v);
  if (in.initial_state.defined())
    check(in.initial_state.shape() == Shape({n.batch, n.heads, n.value, n.key}),
          "delta_rule: initial state ", in.initial_state.shape(), " is not (", n.batch, ", ",
          n.heads, ", ", n.value, ", ", n.key, ")");
  return n;
}

void check_types(const DeltaRuleInputs& in) {
  for (const Var* part : {&in.key, &in.coefficient, &in.value, &in.gate, &in.initial_state})
    if (part->defined())
      check(part->dtype() == in.query.dtype() && part->device() == in.query.device(),
            "delta_rule: inputs are ", in.query.dtype(), " on ", in.query.device(), " and ",
            part->dtype(), " on ", part->device(), "; one type and one device are needed");
}

// How it is computed, with nothing left to choose.
struct Form {
  bool by_chunk;
  Index chunk;
};

Form checked_form(const DeltaRuleInputs& in, const DeltaRuleOptions& options, Index time) {
  check(options.chunk >= 0, "delta_rule: chunks of ", options.chunk,
        " tokens; 1 or more, or 0 for the usual");
  check(options.form != OperatorForm::chunk || !in.gate.defined(),
        "delta_rule: with a gate there is no chunk form; step or automatic");
  const bool by_chunk =
      !in.gate.defined() && resolved_form(options.form, time) == OperatorForm::chunk;
  const Index asked = options.chunk > 0 ? options.chunk : kChunk;
  const Index chunk = on_device(
      "delta_rule", in.query.device(), [&] { return asked; },
      [&] { return cuda::chunk_on_cuda(asked); });
  return {by_chunk, std::min(chunk, std::max<Index>(time, 1))};
}

template <class T>
DeltaRuleArrays<T> arrays_of(const DeltaRuleSizes& n, const Tensor& q, const Tensor& k,
                             const Tensor& alpha, const Tensor& v, const Tensor& g,
                             const Tensor& initial) {
  return {n,
          q.data<T>(),
          data_or_null<T>(k),
          alpha.data<T>(),
          data_or_null<T>(v),
          data_or_null<T>(g),
          data_or_null<T>(initial)};
}

std::vector<Tensor> gradients(const DeltaRuleSizes& n, Form form, const BackwardContext& at) {
  const Tensor &q = at.saved(0), &k = at.saved(1), &alpha = at.saved(2), &g = at.saved(3);
  const Tensor &errors = at.saved(4), &states = at.saved(5);
  Tensor dq = zeros_like(q), dk = zeros_like(k), dalpha = zeros_like(alpha);
  Tensor dv = zeros_like(errors), dg = zeros_like(g), dstate = at.gradient(1).clone();
  dispatch_floating(q.dtype(), "delta_rule", [&](auto zero) {
    using T = decltype(zero);
    const DeltaRuleArrays<T> in = arrays_of<T>(n, q, k, alpha, {}, g, {});
    const DeltaRuleGradients<T> out{dq.mutable_data<T>(),        mutable_data_or_null<T>(dk),
                                    dalpha.mutable_data<T>(),    dv.mutable_data<T>(),
                                    mutable_data_or_null<T>(dg), dstate.mutable_data<T>()};
    const T *e = errors.data<T>(), *s = states.data<T>(), *upstream = at.gradient(0).data<T>();
    const Device device = q.device();
    const auto on_cpu = [&] {
      if (form.by_chunk)
        delta_rule_adjoint_by_chunk(in, form.chunk, e, s, upstream, out);
      else
        delta_rule_adjoint_by_step(in, e, s, upstream, out);
    };
    on_device("delta_rule", device, on_cpu, [&] {
      if (form.by_chunk)
        cuda::delta_rule_adjoint_by_chunk(in, form.chunk, e, s, upstream, out, device);
      else
        cuda::delta_rule_adjoint_by_step(in, e, s, upstream, out, device);
    });
  });
  return {dq, dk, dalpha, dv, dg, dstate};
}

// Whether the tensor cores do it: one node with bfloat16 or float32 in and out, and a state in
// float32.
bool is_for_tensor_cores(const DeltaRuleInputs& in, const DeltaRuleSizes& n,
                         const DeltaRuleOptions& options) {
  const Form form = checked_form(in, options, n.time);
  if (!form.by_chunk || (options.chunk != 0 && options.chunk != kChunk)) return false;
  for (const Var* part : {&in.key, &in.coefficient, &in.value, &in.initial_state}) {
    if (!part->defined()) continue;
    const bool float32_state = part == &in.initial_state && part->dtype() == DType::float32;
    if (part->device() != in.query.device()) return false;
    if (part->dtype() != in.query.dtype() && !float32_state) return false;
  }
  return on_device(
      "delta_rule", in.query.device(), [] { return false; },
      [&] { return cuda::has_tensor_core_form(n, in.query.dtype(), in.query.device()); });
}

DeltaRuleResult on_tensor_cores(DeltaRuleInputs in, const DeltaRuleSizes& n, CallSite site) {
  if (in.initial_state.defined() && in.initial_state.dtype() != DType::float32)
    in.initial_state = cast(in.initial_state, DType::float32, site);
  const cuda::DeltaRuleTensors tensors{n,
                                       in.query.value(),
                                       value_or_none(in.key),
                                       in.coefficient.value(),
                                       in.value.value(),
                                       value_or_none(in.initial_state)};
  const std::vector<Var> inputs{in.query, in.key, in.coefficient, in.value, in.initial_state};
  const auto here = [] { return cuda::DeltaRuleForward(); };  // never: not for the CPU
  const cuda::DeltaRuleForward out = on_device("delta_rule", in.query.device(), here, [&] {
    return cuda::delta_rule_on_tensor_cores(tensors);
  });
  std::vector<Var> results = record(
      "delta_rule", {out.output, out.final_state}, inputs,
      {tensors.query, tensors.key, tensors.coefficient, out.errors, out.states, out.inverses},
      [n](const BackwardContext& at) -> std::vector<Tensor> {
        const cuda::DeltaRuleTensors in{n, at.saved(0), at.saved(1), at.saved(2), at.saved(3), {}};
        const cuda::DeltaRuleForward kept{{}, {}, at.saved(3), at.saved(4), at.saved(5)};
        const auto here = [] { return cuda::DeltaRuleTensors(); };
        const cuda::DeltaRuleTensors out = on_device("delta_rule", at.saved(0).device(), here, [&] {
          return cuda::delta_rule_adjoint_on_tensor_cores(in, kept,
                                                          {at.gradient(0), at.gradient(1)});
        });
        return {out.query, out.key, out.coefficient, out.value, out.initial_state};
      },
      site);
  return {results[0], results[1]};
}

// bfloat16 is for what goes in and out; S would not survive in it.
DeltaRuleResult in_float32(DeltaRuleInputs in, const DeltaRuleOptions& options, CallSite site) {
  for (Var* part : {&in.query, &in.key, &in.coefficient, &in.value, &in.gate, &in.initial_state})
    if (part->defined() && part->dtype() == DType::bfloat16)
      *part = cast(*part, DType::float32, site);
  DeltaRuleResult result = delta_rule(in, options, site);
  result.output = cast(result.output, DType::bfloat16, site);
  return result;
}

}  // namespace

DeltaRuleResult delta_rule(const DeltaRuleInputs& in, const DeltaRuleOptions& options,
                           CallSite site) {
  const DeltaRuleSizes n = checked_sizes(in);
  if (is_for_tensor_cores(in, n, options)) return on_tensor_cores(in, n, site);
  if (in.query.dtype() == DType::bfloat16) return in_float32(in, options, site);
  check_types(in);
  const Form form = checked_form(in, options, n.time);
  const DType dtype = in.query.dtype();
  const Device device = in.query.device();
  const std::vector<Var> inputs{in.query, in.key,  in.coefficient,
                                in.value, in.gate, in.initial_state};
  const bool recorded = will_be_recorded(inputs);
  const Tensor k = value_or_none(in.key), g = value_or_none(in.gate);
  Tensor output({n.batch, n.time, n.heads, n.value}, dtype, device);
  Tensor final_state({n.batch, n.heads, n.value, n.key}, dtype, device);
  Tensor errors = in.value.value(), states;  // without a key the errors are the values
  if (recorded) {
    if (k.defined()) errors = empty_like(output);
    // Room for either device's layout: the CPU pads the states of chunks.
    states =
        Tensor({form.by_chunk ? states_by_chunk(n, form.chunk) : states_by_step(n)}, dtype, device);
  }
  dispatch_floating(dtype, "delta_rule", [&](auto zero) {
    using T = decltype(zero);
    const DeltaRuleArrays<T> arrays =
        arrays_of<T>(n, in.query.value(), k, in.coefficient.value(), in.value.value(), g,
                     value_or_none(in.initial_state));
    const DeltaRuleOutputs<T> out{output.mutable_data<T>(),
                                  recorded && k.defined() ? errors.mutable_data<T>() : nullptr,
                                  mutable_data_or_null<T>(states), final_state.mutable_data<T>()};
    const auto on_cpu = [&] {
      if (form.by_chunk)
        delta_rule_by_chunk(arrays, form.chunk, out);
      else
        delta_rule_by_step(arrays, out);
    };
    on_device("delta_rule", device, on_cpu, [&] {
      if (form.by_chunk)
        cuda::delta_rule_by_chunk(arrays, form.chunk, out, device);
      else
        cuda::delta_rule_by_step(arrays, out, device);
    });
  });
  std::vector<Var> results = record(
      "delta_rule", {output, final_state}, inputs,
      {in.query.value(), k, in.coefficient.value(), g, errors, states},
      [n, form](const BackwardContext& at) { return gradients(n, form, at); }, site);
  return {results[0], results[1]};
}

DeltaRuleResult composed_delta_rule(const DeltaRuleInputs& in) {
  const DeltaRuleSizes n = checked_sizes(in);
  check_types(in);
  // Token t of x (B, T, H, width) as columns (B, H, width, 1).
  const auto column = [&](const Var& x, Index t) {
    return reshape(slice(x, 1, t, t + 1), {n.batch, n.heads, x.size(3), 1});
  };
  Var s = in.initial_state.defined() ? in.initial_state
                                     : Var(Tensor::zeros({n.batch, n.heads, n.value, n.key},
                                                         in.query.dtype(), in.query.device()));
  std::vector<Var> outputs;
  for (Index t = 0; t < n.time; ++t) {
    Var e = column(in.value, t);
    if (in.key.defined()) e = e - matmul(s, column(in.key, t));
    if (in.gate.defined()) s = s * column(in.gate, t);
    s = s + matmul(e, column(in.coefficient, t), {.transpose_b = true});
    outputs.push_back(reshape(matmul(s, column(in.query, t)), {n.batch, 1, n.heads, n.value}));
  }
  if (outputs.empty())
    return {Var(Tensor::zeros({n.batch, 0, n.heads, n.value}, in.query.dtype(), in.query.device())),
            s};
  return {concat(outputs, 1), s};
}

}  // namespace vla
