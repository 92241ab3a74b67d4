#include "framework/ops/shaping.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "framework/ops/inputs.hpp"
#include "framework/ops/shaping_cuda.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

constexpr Index kGrain = 1 << 13;  // elements below which a second thread costs more than it saves

int checked_axis(const char* op, const Shape& shape, int axis) {
  check(axis >= -shape.rank() && axis < shape.rank(), op, ": axis ", axis, " of shape ", shape,
        " is out of range; allowed: ", -shape.rank(), " to ", shape.rank() - 1);
  return shape.checked_axis(axis);
}

// A tensor seen as (outer, size, inner) around one axis.
Index outer_elements(const Shape& shape, int axis) {
  Index result = 1;
  for (int i = 0; i < axis; ++i) result *= shape[i];
  return result;
}
Index inner_elements(const Shape& shape, int axis) {
  Index result = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) result *= shape[i];
  return result;
}

// Each outer part of the result receives `count` elements at `to_offset` from `from_offset` of the
// same outer part of x.
template <class T>
void copy_blocks_kernel(const Tensor& x, Index from_offset, Tensor& result, Index to_offset,
                        Index count, Index outer) {
  const Index from_stride = x.elements() / outer, to_stride = result.elements() / outer;
  const T* from = x.data<T>() + from_offset;
  T* to = result.mutable_data<T>() + to_offset;
  parallel_for(outer, std::max<Index>(1, kGrain / count), [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      std::memcpy(to + i * to_stride, from + i * from_stride,
                  static_cast<std::size_t>(count) * sizeof(T));
  });
}

void copy_blocks(const char* op, const Tensor& x, Index from_offset, Tensor& result,
                 Index to_offset, Index count, Index outer) {
  if (count == 0 || outer == 0) return;
  const auto on_cpu = [&] {
    dispatch_any(x.dtype(), [&](auto zero) {
      copy_blocks_kernel<decltype(zero)>(x, from_offset, result, to_offset, count, outer);
    });
  };
  on_device(op, x.device(), on_cpu,
            [&] { cuda::copy_blocks(op, x, from_offset, result, to_offset, count, outer); });
}

// Rows of the result, of `sizes`, whose elements are `strides` apart in x; none is empty.
template <class T>
void permute_kernel(const Tensor& x, const std::vector<Index>& sizes,
                    const std::vector<Index>& strides, Tensor& result) {
  const Index columns = sizes.back(), column_stride = strides.back();
  const T* in = x.data<T>();
  T* out = result.mutable_data<T>();
  parallel_for(x.elements() / columns, std::max<Index>(1, kGrain / columns),
               [&](Index begin, Index end) {
                 // The index of the row, axis by axis, counted up like an odometer.
                 std::vector<Index> index(sizes.size() - 1);
                 Index rest = begin, from = 0;
                 for (std::size_t axis = index.size(); axis-- > 0; rest /= sizes[axis]) {
                   index[axis] = rest % sizes[axis];
                   from += index[axis] * strides[axis];
                 }
                 for (Index row = begin; row < end; ++row) {
                   T* to = out + row * columns;
                   if (column_stride == 1)
                     std::memcpy(to, in + from, static_cast<std::size_t>(columns) * sizeof(T));
                   else
                     for (Index i = 0; i < columns; ++i) to[i] = in[from + i * column_stride];
                   for (std::size_t axis = index.size(); axis-- > 0;) {
                     from += strides[axis];
                     if (++index[axis] < sizes[axis]) break;
                     from -= strides[axis] * sizes[axis];
                     index[axis] = 0;
                   }
                 }
               });
}

// Axis i of the result is axis axes[i] of x.
Tensor permuted(const Tensor& x, const std::vector<int>& axes) {
  std::vector<Index> sizes, strides;
  for (int axis : axes) {
    sizes.push_back(x.size(axis));
    strides.push_back(inner_elements(x.shape(), axis));
  }
  if (sizes.empty()) return x.clone();
  Tensor result(Shape(sizes), x.dtype(), x.device());
  if (x.elements() == 0) return result;
  const auto on_cpu = [&] {
    dispatch_any(x.dtype(),
                 [&](auto zero) { permute_kernel<decltype(zero)>(x, sizes, strides, result); });
  };
  on_device("permute", x.device(), on_cpu, [&] { cuda::permute(x, axes, result); });
  return result;
}

std::vector<int> checked_permutation(const Shape& shape, const std::vector<int>& axes) {
  check(static_cast<int>(axes.size()) == shape.rank(), "permute: ", axes.size(), " axes for shape ",
        shape, "; ", shape.rank(), " are needed");
  std::vector<int> result;
  for (int axis : axes) {
    const int place = checked_axis("permute", shape, axis);
    check(std::find(result.begin(), result.end(), place) == result.end(), "permute: axis ", axis,
          " of shape ", shape, " is named twice");
    result.push_back(place);
  }
  return result;
}

Tensor sliced(const char* op, const Tensor& x, int axis, Index begin, Index end) {
  const Index outer = outer_elements(x.shape(), axis), inner = inner_elements(x.shape(), axis);
  Tensor result(x.shape().with(axis, end - begin), x.dtype(), x.device());
  copy_blocks(op, x, begin * inner, result, 0, (end - begin) * inner, outer);
  return result;
}

// The parts one after the other along `axis`; they agree on every other.
Tensor joined(const char* op, const std::vector<Tensor>& parts, int axis) {
  const Shape& shape = parts[0].shape();
  Index size = 0;
  for (const Tensor& part : parts) size += part.size(axis);
  Tensor result(shape.with(axis, size), parts[0].dtype(), parts[0].device());
  const Index outer = outer_elements(shape, axis), inner = inner_elements(shape, axis);
  Index place = 0;
  for (const Tensor& part : parts) {
    copy_blocks(op, part, 0, result, place * inner, part.size(axis) * inner, outer);
    place += part.size(axis);
  }
  return result;
}

void check_parts(const char* op, const std::vector<Var>& parts) {
  check(!parts.empty(), op, ": no parts; 1 or more are needed");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor &part = parts[i].value(), &first = parts[0].value();
    check(part.dtype() == first.dtype() && part.device() == first.device(), op, ": part ", i,
          " is ", part.dtype(), " on ", part.device(), ", part 0 is ", first.dtype(), " on ",
          first.device());
  }
}

// Rows of a (..., size, size) tensor: what is right of the diagonal becomes `value`.
Tensor lower_triangle(const Tensor& x, double value) {
  Tensor result = empty_like(x);
  if (x.elements() == 0) return result;
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "causal_mask", [&](auto zero) {
      using T = decltype(zero);
      const Index size = x.size(-1);
      const T* in = x.data<T>();
      T* out = result.mutable_data<T>();
      parallel_for(x.elements() / size, std::max<Index>(1, kGrain / size),
                   [=](Index begin, Index end) {
                     for (Index row = begin; row < end; ++row) {
                       const Index kept = row % size + 1;
                       std::copy_n(in + row * size, kept, out + row * size);
                       std::fill_n(out + row * size + kept, size - kept, T(value));
                     }
                   });
    });
  };
  on_device("causal_mask", x.device(), on_cpu, [&] { cuda::lower_triangle(x, value, result); });
  return result;
}

}  // namespace

Var reshape(const Var& x, std::vector<Index> sizes, CallSite site) {
  return record(
      "reshape", x.value().reshape(std::move(sizes)), {x}, {},
      [shape = x.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        return {at.gradient().reshape(shape)};
      },
      site);
}

Var cast(const Var& x, DType dtype, CallSite site) {
  check(is_floating(x.dtype()) && is_floating(dtype), "cast: from ", x.dtype(), " to ", dtype,
        " is not allowed; float32 or float64");
  if (x.dtype() == dtype) return x;
  return record(
      "cast", x.value().to(dtype), {x}, {},
      [from = x.dtype()](const BackwardContext& at) -> std::vector<Tensor> {
        return {at.gradient().to(from)};
      },
      site);
}

Var permute(const Var& x, const std::vector<int>& axes, CallSite site) {
  const std::vector<int> forward = checked_permutation(x.shape(), axes);
  std::vector<int> inverse(forward.size());
  for (std::size_t i = 0; i < forward.size(); ++i)
    inverse[static_cast<std::size_t>(forward[i])] = static_cast<int>(i);
  return record(
      "permute", permuted(x.value(), forward), {x}, {},
      [inverse](const BackwardContext& at) -> std::vector<Tensor> {
        return {permuted(at.gradient(), inverse)};
      },
      site);
}

Var slice(const Var& x, int axis, Index begin, Index end, CallSite site) {
  const int place = checked_axis("slice", x.shape(), axis);
  check(0 <= begin && begin <= end && end <= x.size(place), "slice: ", begin, " to ", end,
        " on axis ", axis, " of shape ", x.shape(), "; 0 <= begin <= end <= ", x.size(place));
  return record(
      "slice", sliced("slice", x.value(), place, begin, end), {x}, {},
      [place, begin, shape = x.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor& dy = at.gradient();
        const Index outer = outer_elements(shape, place), inner = inner_elements(shape, place);
        Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
        copy_blocks("slice", dy, 0, dx, begin * inner, dy.size(place) * inner, outer);
        return {dx};
      },
      site);
}

Var concat(const std::vector<Var>& parts, int axis, CallSite site) {
  check_parts("concat", parts);
  const Shape& shape = parts[0].shape();
  const int place = checked_axis("concat", shape, axis);
  std::vector<Tensor> values;
  std::vector<Index> sizes;
  for (const Var& part : parts) {
    check(
        part.shape().rank() == shape.rank() && part.shape().with(place, 0) == shape.with(place, 0),
        "concat: part ", values.size(), " has shape ", part.shape(), ", part 0 ", shape,
        "; only axis ", axis, " may differ");
    values.push_back(part.value());
    sizes.push_back(part.size(place));
  }
  return record(
      "concat", joined("concat", values, place), parts, {},
      [place, sizes](const BackwardContext& at) -> std::vector<Tensor> {
        std::vector<Tensor> gradients(sizes.size());
        Index begin = 0;
        for (std::size_t i = 0; i < sizes.size(); begin += sizes[i++])
          if (at.wants(static_cast<int>(i)))
            gradients[i] = sliced("concat", at.gradient(), place, begin, begin + sizes[i]);
        return gradients;
      },
      site);
}

Var stack(const std::vector<Var>& parts, int axis, CallSite site) {
  check_parts("stack", parts);
  const Shape shape = parts[0].shape();
  check(axis >= -shape.rank() - 1 && axis <= shape.rank(), "stack: new axis ", axis,
        " for parts of shape ", shape, " is out of range; allowed: ", -shape.rank() - 1, " to ",
        shape.rank());
  const int place = axis < 0 ? axis + shape.rank() + 1 : axis;
  std::vector<Tensor> values;
  for (const Var& part : parts) {
    check(part.shape() == shape, "stack: part ", values.size(), " has shape ", part.shape(),
          ", part 0 ", shape, "; all must be equal");
    values.push_back(part.value().reshape(shape.inserted(place, 1)));
  }
  return record(
      "stack", joined("stack", values, place), parts, {},
      [place, shape, count = parts.size()](const BackwardContext& at) -> std::vector<Tensor> {
        std::vector<Tensor> gradients(count);
        for (std::size_t i = 0; i < count; ++i) {
          const Index begin = static_cast<Index>(i);
          if (at.wants(static_cast<int>(i)))
            gradients[i] = sliced("stack", at.gradient(), place, begin, begin + 1).reshape(shape);
        }
        return gradients;
      },
      site);
}

Var causal_mask(const Var& scores, CallSite site) {
  const Shape& shape = scores.shape();
  check(shape.rank() >= 2 && shape[-1] == shape[-2], "causal_mask: scores have shape ", shape,
        "; (..., T, T) is needed");
  return record(
      "causal_mask", lower_triangle(scores.value(), -std::numeric_limits<double>::infinity()),
      {scores}, {},
      [](const BackwardContext& at) -> std::vector<Tensor> {
        return {lower_triangle(at.gradient(), 0)};
      },
      site);
}

}  // namespace vla
