#include "models/vla/stabilized_recurrence.hpp"

#include <algorithm>

#include "framework/ops/shaping.hpp"
#include "framework/parallel.hpp"
#include "models/vla/stabilized_chunk.hpp"
#include "models/vla/stabilized_recurrence_cuda.hpp"
#include "models/vla/stabilized_step.hpp"

namespace vla {
namespace {

constexpr Index kSegment = kStabilizedSegment;

using Sizes = StabilizedSizes;

Index segments(const Sizes& n) { return (n.time + kSegment - 1) / kSegment; }

void check_dtype(const char* name, DType actual, DType needed) {
  check(actual == needed, "stabilized_recurrence: ", name, " is ", actual, "; ", needed,
        " is needed");
}

// Everything in the element type of the query, but for what counts and what says yes or no.
void check_dtypes(const StabilizedInputs& in) {
  const DType dtype = in.query.dtype();
  check_dtype("key", in.key.dtype(), dtype);
  check_dtype("value", in.value.dtype(), dtype);
  check_dtype("directions", in.directions.dtype(), dtype);
  if (in.symbolic.defined()) {
    check_dtype("symbolic direction", in.symbolic.dtype(), dtype);
    check_dtype("active", in.active.dtype(), DType::uint8);
  }
  if (in.initial_inverse.defined())
    check_dtype("initial inverse", in.initial_inverse.dtype(), dtype);
  if (in.initial_memory.defined()) check_dtype("initial memory", in.initial_memory.dtype(), dtype);
  if (in.initial_updates.defined())
    check_dtype("initial updates", in.initial_updates.dtype(), DType::int64);
}

void check_state(const StabilizedInputs& in, const Sizes& n) {
  if (in.initial_inverse.defined())
    check(in.initial_inverse.shape() == Shape({n.batch, n.heads, n.key, n.key}),
          "stabilized_recurrence: initial inverse ", in.initial_inverse.shape(),
          " does not fit query ", in.query.shape());
  if (in.initial_memory.defined())
    check(in.initial_memory.shape() == Shape({n.batch, n.heads, n.value, n.key}),
          "stabilized_recurrence: initial memory ", in.initial_memory.shape(),
          " does not fit value ", in.value.shape());
  if (!in.initial_updates.defined()) return;
  check(in.initial_updates.shape() == Shape({n.batch}), "stabilized_recurrence: initial updates ",
        in.initial_updates.shape(), " are not (", n.batch, ")");
  if (!in.initial_updates.device().is_cpu()) return;  // only the device sees the values
  for (const Index count : in.initial_updates.values<Index>())
    check(count >= 0, "stabilized_recurrence: initial updates ", count, "; 0 or more is needed");
}

void check_devices(const StabilizedInputs& in) {
  const Tensor symbolic = value_or_none(in.symbolic);
  for (const Tensor* part :
       {&in.key.value(), &in.value.value(), &in.directions.value(), &symbolic, &in.active,
        &in.initial_inverse, &in.initial_memory, &in.initial_updates})
    check(!part->defined() || part->device() == in.query.device(),
          "stabilized_recurrence: inputs differ in device");
}

Sizes checked_sizes(const StabilizedInputs& in) {
  const Shape& q = in.query.shape();
  const Shape& v = in.value.shape();
  check(q.rank() == 4, "stabilized_recurrence: query has shape ", q, "; (B, T, H, d) is needed");
  check(in.key.shape() == q, "stabilized_recurrence: key ", in.key.shape(), " does not fit query ",
        q);
  check(v.rank() == 4 && v.without(-1) == q.without(-1), "stabilized_recurrence: value ", v,
        " does not fit query ", q);
  const Shape& u = in.directions.shape();
  check(u.rank() == 5 && u.without(3) == q, "stabilized_recurrence: directions ", u,
        " do not fit query ", q, "; (B, T, H, r, d) is needed");
  if (in.symbolic.defined()) {
    check(in.symbolic.shape() == q, "stabilized_recurrence: symbolic direction ",
          in.symbolic.shape(), " does not fit query ", q);
    check(in.active.defined() && in.active.shape() == Shape({q[0], q[1]}),
          "stabilized_recurrence: a symbolic direction needs `active` of shape (", q[0], ", ", q[1],
          ")");
  }
  const Sizes n{q[0], q[1], q[2], u[3], q[3], v[3]};
  check_dtypes(in);
  check_state(in, n);
  check_devices(in);
  return n;
}

// All tensors of the recurrence as plain arrays; null where there is none.
template <class T>
struct Arrays {
  const T *q, *k, *v, *u, *symbolic;
  const std::uint8_t* active;
  T* o = nullptr;
  const T* output_gradient = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr, *du = nullptr, *dsymbolic = nullptr;

  StabilizedToken<T> token(const Sizes& n, Index b, Index t, Index h) const {
    const Index place = (b * n.time + t) * n.heads + h;
    const Index at_key = place * n.key, at_value = place * n.value;
    const Index at_direction = place * n.directions * n.key;
    const auto offset = [](auto* pointer, Index distance) {
      return pointer ? pointer + distance : nullptr;
    };
    const bool is_active = symbolic && active[b * n.time + t] != 0;
    return {.q = q + at_key,
            .k = k + at_key,
            .v = v + at_value,
            .u = u + at_direction,
            .symbolic = is_active ? symbolic + at_key : nullptr,
            .o = o + at_value,
            .output_gradient = offset(output_gradient, at_value),
            .dq = offset(dq, at_key),
            .dk = offset(dk, at_key),
            .dv = offset(dv, at_value),
            .du = offset(du, at_direction),
            .dsymbolic = is_active ? offset(dsymbolic, at_key) : nullptr};
  }
};

template <class T>
Arrays<T> input_arrays(const StabilizedTensors& in) {
  return {.q = in.q.data<T>(),
          .k = in.k.data<T>(),
          .v = in.v.data<T>(),
          .u = in.u.data<T>(),
          .symbolic = data_or_null<T>(in.symbolic),
          .active = in.symbolic.defined() ? in.active.data<std::uint8_t>() : nullptr};
}

template <class Work>
void for_each_head(const Sizes& n, Work work) {
  parallel_for(n.batch * n.heads, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) work(i / n.heads, i % n.heads);
  });
}

template <class T>
void copy_if_given(const Tensor& source, Index block, std::vector<T>& into) {
  if (!source.defined()) return;
  const auto size = static_cast<Index>(into.size());
  std::copy_n(source.data<T>() + block * size, size, into.data());
}

template <class T>
void forward(const Sizes& n, const StabilizedOptions& options, const StabilizedInputs& in,
             Tensor& output, StabilizedCheckpoints& saved, StabilizedResult& result) {
  Arrays<T> arrays = input_arrays<T>(tensors_of(in));
  arrays.o = output.mutable_data<T>();
  T *inverses = saved.inverse.mutable_data<T>(), *memories = saved.memory.mutable_data<T>();
  Index* updates = saved.updates.mutable_data<Index>();
  T *last_inverse = result.inverse.mutable_data<T>(),
    *last_memory = result.memory.mutable_data<T>();
  Index* last_updates = result.updates.mutable_data<Index>();
  for_each_head(n, [&](Index b, Index h) {
    const Index head = b * n.heads + h;
    StabilizedState<T> state(n, options);
    if (in.initial_updates.defined()) state.updates = in.initial_updates.data<Index>()[b];
    copy_if_given(in.initial_inverse, head, state.inverse);
    copy_if_given(in.initial_memory, head, state.memory);
    std::vector<InverseStep<T>> steps;
    for (Index t = 0; t < n.time; ++t) {
      if (t % kSegment == 0) {
        const Index block = head * segments(n) + t / kSegment;
        std::ranges::copy(state.inverse, inverses + block * n.key * n.key);
        std::ranges::copy(state.memory, memories + block * n.value * n.key);
        updates[block] = state.updates;
      }
      steps.clear();
      state.forward(arrays.token(n, b, t, h), steps);
    }
    std::ranges::copy(state.inverse, last_inverse + head * n.key * n.key);
    std::ranges::copy(state.memory, last_memory + head * n.value * n.key);
    if (h == 0) last_updates[b] = state.updates;  // every head of a sequence counts the same
  });
}

template <class T>
void backward(const Sizes& n, const StabilizedOptions& options, const StabilizedTensors& in,
              const StabilizedCheckpoints& saved, const Tensor& output_gradient,
              StabilizedTensors& gradients) {
  Arrays<T> arrays = input_arrays<T>(in);
  Tensor outputs = empty_like(in.v);  // they come again and are not needed
  arrays.o = outputs.mutable_data<T>();
  arrays.output_gradient = output_gradient.data<T>();
  arrays.dq = gradients.q.mutable_data<T>();
  arrays.dk = gradients.k.mutable_data<T>();
  arrays.dv = gradients.v.mutable_data<T>();
  arrays.du = gradients.u.mutable_data<T>();
  arrays.dsymbolic = mutable_data_or_null<T>(gradients.symbolic);
  for_each_head(n, [&](Index b, Index h) {
    StabilizedState<T> state(n, options);
    const Index area = n.value * n.key;
    std::vector<std::vector<InverseStep<T>>> steps(static_cast<std::size_t>(kSegment));
    std::vector<T> memories(static_cast<std::size_t>((kSegment + 1) * area));
    for (Index segment = segments(n) - 1; segment >= 0; --segment) {
      const Index block = (b * n.heads + h) * segments(n) + segment;
      copy_if_given(saved.inverse, block, state.inverse);
      copy_if_given(saved.memory, block, state.memory);
      state.updates = saved.updates.data<Index>()[block];
      const Index first = segment * kSegment, count = std::min(kSegment, n.time - first);
      std::ranges::copy(state.memory, memories.data());
      for (Index t = 0; t < count; ++t) {
        auto& of_token = steps[static_cast<std::size_t>(t)];
        of_token.clear();
        state.forward(arrays.token(n, b, first + t, h), of_token);
        std::ranges::copy(state.memory, memories.data() + (t + 1) * area);
      }
      for (Index t = count - 1; t >= 0; --t)
        state.backward(arrays.token(n, b, first + t, h), steps[static_cast<std::size_t>(t)],
                       memories.data() + t * area, memories.data() + (t + 1) * area);
    }
  });
}

std::vector<Tensor> gradients(const Sizes& n, const StabilizedOptions& options,
                              const BackwardContext& at) {
  const StabilizedTensors in{at.saved(0), at.saved(1), at.saved(2),
                             at.saved(3), at.saved(4), at.saved(5)};
  const StabilizedCheckpoints saved{at.saved(6), at.saved(7), at.saved(8)};
  StabilizedTensors d{zeros_like(in.q), zeros_like(in.k),        zeros_like(in.v),
                      zeros_like(in.u), zeros_like(in.symbolic), {}};
  const auto on_cpu = [&] {
    dispatch_floating(in.q.dtype(), "stabilized_recurrence", [&](auto zero) {
      backward<decltype(zero)>(n, options, in, saved, at.gradient(), d);
    });
  };
  on_device("stabilized_recurrence", in.q.device(), on_cpu,
            [&] { cuda::stabilized_adjoint_by_step(n, options, in, saved, at.gradient(), d); });
  return {d.q, d.k, d.v, d.u, d.symbolic};
}

StabilizedResult stabilized_by_step(const Sizes& n, const StabilizedInputs& in,
                                    const StabilizedOptions& options, CallSite site) {
  const DType dtype = in.query.dtype();
  const Device device = in.query.device();
  Tensor output = empty_like(in.value.value());
  StabilizedResult result{{},
                          Tensor({n.batch, n.heads, n.key, n.key}, dtype, device),
                          Tensor({n.batch, n.heads, n.value, n.key}, dtype, device),
                          Tensor::zeros({n.batch}, DType::int64, device)};
  StabilizedCheckpoints saved{
      Tensor({n.batch, n.heads, segments(n), n.key, n.key}, dtype, device),
      Tensor({n.batch, n.heads, segments(n), n.value, n.key}, dtype, device),
      Tensor({n.batch, n.heads, segments(n)}, DType::int64, device)};
  const auto on_cpu = [&] {
    dispatch_floating(dtype, "stabilized_recurrence", [&](auto zero) {
      forward<decltype(zero)>(n, options, in, output, saved, result);
    });
  };
  on_device("stabilized_recurrence", device, on_cpu,
            [&] { cuda::stabilized_by_step(n, options, in, output, saved, result); });
  result.output = record(
      "stabilized_recurrence", output, {in.query, in.key, in.value, in.directions, in.symbolic},
      {in.query.value(), in.key.value(), in.value.value(), in.directions.value(),
       value_or_none(in.symbolic), in.active, saved.inverse, saved.memory, saved.updates},
      [n, options](const BackwardContext& at) { return gradients(n, options, at); }, site);
  return result;
}

// bfloat16 is for what goes in and out; A and S would not survive in it.
StabilizedResult in_float32(StabilizedInputs in, const StabilizedOptions& options,
                            OperatorForm form, CallSite site) {
  for (Var* part : {&in.query, &in.key, &in.value, &in.directions, &in.symbolic})
    if (part->defined() && part->dtype() == DType::bfloat16)
      *part = cast(*part, DType::float32, site);
  StabilizedResult result = stabilized_recurrence(in, options, form, site);
  result.output = cast(result.output, DType::bfloat16, site);
  return result;
}

}  // namespace

StabilizedResult stabilized_recurrence(const StabilizedInputs& in, const StabilizedOptions& options,
                                       OperatorForm form, CallSite site) {
  if (in.query.dtype() == DType::bfloat16) return in_float32(in, options, form, site);
  const Sizes n = checked_sizes(in);
  check_options(options, in.query.dtype());
  const std::string obstacle = chunk_obstacle(in, options);
  check(form != OperatorForm::chunk || obstacle.empty(),
        "stabilized_recurrence: the chunk form is not exact with ", obstacle);
  if (form == OperatorForm::step || !obstacle.empty())
    return stabilized_by_step(n, in, options, site);
  return stabilized_by_chunk(in, options);
}

}  // namespace vla
