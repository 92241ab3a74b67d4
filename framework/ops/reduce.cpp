#include "framework/ops/reduce.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/elementwise.hpp"
#include "framework/ops/fold.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce_cuda.hpp"

namespace vla {
namespace {

// Which axes are reduced, after the checks.
std::vector<bool> reduced_axes(const char* op, const Shape& shape, const std::vector<int>& axes) {
  std::vector<bool> reduced(static_cast<std::size_t>(shape.rank()), axes.empty());
  for (int axis : axes) {
    check(axis >= -shape.rank() && axis < shape.rank(), op, ": axis ", axis, " of shape ", shape,
          " is out of range; allowed: ", -shape.rank(), " to ", shape.rank() - 1);
    const auto place = static_cast<std::size_t>(shape.checked_axis(axis));
    check(!reduced[place], op, ": axis ", axis, " of shape ", shape, " is named twice");
    reduced[place] = true;
  }
  return reduced;
}

Shape reduced_shape(const Shape& shape, const std::vector<bool>& reduced, bool keep) {
  std::vector<Index> sizes;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (!reduced[static_cast<std::size_t>(axis)])
      sizes.push_back(shape[axis]);
    else if (keep)
      sizes.push_back(1);
  }
  return Shape(std::move(sizes));
}

// x reduced over the axes, which stay with size 1. Neighbouring axes are one run; where there are
// several runs, one is reduced after the other. Shares storage with x if nothing is reduced.
template <class Fold>
Tensor reduce(const Tensor& x, const std::vector<bool>& reduced) {
  Tensor result = x;
  for (int last = x.rank() - 1; last >= 0; --last) {
    if (!reduced[static_cast<std::size_t>(last)] || x.size(last) == 1) continue;
    std::vector<Index> sizes = result.shape().sizes();
    FoldRun run;
    for (int axis = last + 1; axis < x.rank(); ++axis) run.inner *= result.size(axis);
    int axis = last;
    for (; axis >= 0 && (reduced[static_cast<std::size_t>(axis)] || x.size(axis) == 1); --axis) {
      run.length *= x.size(axis);
      sizes[static_cast<std::size_t>(axis)] = 1;
    }
    last = axis + 1;
    for (; axis >= 0; --axis) run.outer *= x.size(axis);
    Tensor next(Shape(std::move(sizes)), x.dtype(), x.device());
    const auto on_cpu = [&] {
      dispatch_floating(x.dtype(), Fold::name, [&](auto zero) {
        using T = decltype(zero);
        reduce_run<Fold>(result.data<T>(), run, next.mutable_data<T>());
      });
    };
    on_device(Fold::name, x.device(), on_cpu, [&] { cuda::reduce_run(Fold(), result, run, next); });
    result = next;
  }
  return result;
}

// The same, never sharing storage: a result must not change with its input.
template <class Fold>
Tensor reduce_copy(const Tensor& x, const std::vector<bool>& reduced) {
  check_inputs(Fold::name, {&x});
  const Tensor result = reduce<Fold>(x, reduced);
  return result.shares_storage(x) ? result.clone() : result;
}

Index reduced_count(const char* op, const Shape& shape, const std::vector<bool>& reduced) {
  Index count = 1;
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (reduced[static_cast<std::size_t>(axis)]) count *= shape[axis];
  check(count > 0, op, ": shape ", shape, " has no elements along the reduced axes; 1 or more");
  return count;
}

// Ops on plain tensors, for rules that are not worth a kernel: constants record nothing.
Tensor product(const Tensor& a, const Tensor& b) { return mul(Var(a), Var(b)).value(); }
Tensor quotient(const Tensor& a, const Tensor& b) { return div(Var(a), Var(b)).value(); }
Tensor times(const Tensor& x, double factor) { return scale(Var(x), factor).value(); }

// a / b, and 0 where b is 0; of one shape.
Tensor quotient_or_zero(const Tensor& a, const Tensor& b) {
  Tensor result = empty_like(a);
  const auto on_cpu = [&] {
    dispatch_floating(a.dtype(), "norm", [&](auto zero) {
      using T = decltype(zero);
      const T *left = a.data<T>(), *right = b.data<T>();
      T* out = result.mutable_data<T>();
      parallel_for(a.elements(), kElementwiseGrain, [=](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) out[i] = right[i] == 0 ? T(0) : left[i] / right[i];
      });
    });
  };
  on_device("norm", a.device(), on_cpu, [&] { cuda::quotient_or_zero(a, b, result); });
  return result;
}

// 1 where x equals y, 0 elsewhere; y broadcasts along the reduced axes.
Tensor equal(const Tensor& x, const Tensor& y) {
  const Tensor other = broadcast_to(y, x.shape());
  Tensor result = empty_like(x);
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "max", [&](auto zero) {
      using T = decltype(zero);
      const T *left = x.data<T>(), *right = other.data<T>();
      T* out = result.mutable_data<T>();
      parallel_for(x.elements(), kElementwiseGrain, [=](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) out[i] = T(left[i] == right[i]);
      });
    });
  };
  on_device("max", x.device(), on_cpu, [&] { cuda::equal(x, other, result); });
  return result;
}

// Norms as |x| = s |x / s| with s the largest |x_i| of each norm, where that is neither 0 nor
// infinite.
Tensor scaled_norm(const Tensor& x, const std::vector<bool>& reduced) {
  Tensor largest = reduce_copy<MaxFold>(abs(Var(x)).value(), reduced);
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "norm", [&](auto zero) {
      for (auto& value : largest.mutable_values<decltype(zero)>())
        if (value == 0 || std::isinf(value)) value = 1;
    });
  };
  on_device("norm", x.device(), on_cpu, [&] { cuda::make_divisors(largest); });
  const Tensor squares = square(Var(quotient(x, largest))).value();
  return product(sqrt(Var(reduce<SumFold>(squares, reduced))).value(), largest);
}

// Running sums along the middle axis, backwards in it if `reverse`. Sums are held in double: a
// rounding error at the start would stay in all that follows.
template <class T>
void cumulative_kernel(const T* x, const FoldRun& run, bool reverse, T* y) {
  const Index tiles = (run.inner + kFoldColumns - 1) / kFoldColumns;
  parallel_for(
      run.outer * tiles,
      std::max<Index>(1, kElementwiseGrain * tiles / std::max<Index>(1, run.length * run.inner)),
      [=](Index begin, Index end) {
        std::array<double, kFoldColumns> sums;
        for (Index item = begin; item < end; ++item) {
          const Index column = item % tiles * kFoldColumns;
          const Index columns = std::min(kFoldColumns, run.inner - column);
          const Index start = item / tiles * run.length * run.inner + column;
          if (run.inner == 1) {
            double sum = 0;
            for (Index step = 0; step < run.length; ++step) {
              const Index i = start + (reverse ? run.length - 1 - step : step);
              y[i] = T(sum += x[i]);
            }
            continue;
          }
          std::fill_n(sums.begin(), columns, 0.0);
          for (Index step = 0; step < run.length; ++step) {
            const Index row = start + (reverse ? run.length - 1 - step : step) * run.inner;
#pragma omp simd
            for (Index i = 0; i < columns; ++i) {
              sums[i] += x[row + i];
              y[row + i] = T(sums[i]);
            }
          }
        }
      });
}

Tensor running_sum(const Tensor& x, int axis, bool reverse) {
  Tensor result = empty_like(x);
  FoldRun run{.length = x.size(axis)};
  for (int i = 0; i < axis; ++i) run.outer *= x.size(i);
  for (int i = axis + 1; i < x.rank(); ++i) run.inner *= x.size(i);
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "cumulative_sum", [&](auto zero) {
      using T = decltype(zero);
      cumulative_kernel(x.data<T>(), run, reverse, result.mutable_data<T>());
    });
  };
  on_device("cumulative_sum", x.device(), on_cpu,
            [&] { cuda::running_sum(x, run, reverse, result); });
  return result;
}

}  // namespace

Var sum(const Var& x, const std::vector<int>& axes, ReduceOptions options, CallSite site) {
  const std::vector<bool> reduced = reduced_axes("sum", x.shape(), axes);
  const Shape kept = reduced_shape(x.shape(), reduced, true);
  return record(
      "sum",
      reduce_copy<SumFold>(x.value(), reduced)
          .reshape(reduced_shape(x.shape(), reduced, options.keep)),
      {x}, {},
      [kept, shape = x.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        return {broadcast_to(at.gradient().reshape(kept), shape)};
      },
      site);
}

Var mean(const Var& x, const std::vector<int>& axes, ReduceOptions options, CallSite site) {
  check_inputs("mean", {&x.value()});
  const std::vector<bool> reduced = reduced_axes("mean", x.shape(), axes);
  const double share = 1.0 / static_cast<double>(reduced_count("mean", x.shape(), reduced));
  const Shape kept = reduced_shape(x.shape(), reduced, true);
  return record(
      "mean",
      times(reduce<SumFold>(x.value(), reduced), share)
          .reshape(reduced_shape(x.shape(), reduced, options.keep)),
      {x}, {},
      [kept, share, shape = x.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        return {broadcast_to(times(at.gradient(), share).reshape(kept), shape)};
      },
      site);
}

Var max(const Var& x, const std::vector<int>& axes, ReduceOptions options, CallSite site) {
  const std::vector<bool> reduced = reduced_axes("max", x.shape(), axes);
  reduced_count("max", x.shape(), reduced);
  const Tensor y = reduce_copy<MaxFold>(x.value(), reduced);
  return record(
      "max", y.reshape(reduced_shape(x.shape(), reduced, options.keep)), {x}, {x.value(), y},
      [reduced](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &x = at.saved(0), &y = at.saved(1);
        const Tensor chosen = equal(x, y);
        const Tensor share =
            quotient(at.gradient().reshape(y.shape()), reduce<SumFold>(chosen, reduced));
        return {product(chosen, share)};
      },
      site);
}

Var norm(const Var& x, const std::vector<int>& axes, ReduceOptions options, CallSite site) {
  check_inputs("norm", {&x.value()});
  const std::vector<bool> reduced = reduced_axes("norm", x.shape(), axes);
  const Tensor y = scaled_norm(x.value(), reduced);
  return record(
      "norm", y.reshape(reduced_shape(x.shape(), reduced, options.keep)), {x}, {x.value(), y},
      [](const BackwardContext& at) -> std::vector<Tensor> {
        // x / |x| first: it is at most 1 whatever the size of x.
        const Tensor &x = at.saved(0), y = broadcast_to(at.saved(1), x.shape());
        return {product(quotient_or_zero(x, y), at.gradient().reshape(at.saved(1).shape()))};
      },
      site);
}

Var cumulative_sum(const Var& x, int axis, CallSite site) {
  const Shape& shape = x.shape();
  check(axis >= -shape.rank() && axis < shape.rank(), "cumulative_sum: axis ", axis, " of shape ",
        shape, " is out of range; allowed: ", -shape.rank(), " to ", shape.rank() - 1);
  const int place = shape.checked_axis(axis);
  return record(
      "cumulative_sum", running_sum(x.value(), place, false), {x}, {},
      [place](const BackwardContext& at) -> std::vector<Tensor> {
        return {running_sum(at.gradient(), place, true)};
      },
      site);
}

Tensor sum_to_shape(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  check(broadcast_shape("sum_to_shape", shape, x.shape()) == x.shape(), "sum_to_shape: shape ",
        shape, " does not repeat to ", x.shape());
  const int missing = x.rank() - shape.rank();
  std::vector<bool> reduced;
  for (int axis = 0; axis < x.rank(); ++axis)
    reduced.push_back(axis < missing || (shape[axis - missing] == 1 && x.size(axis) != 1));
  return reduce<SumFold>(x, reduced).reshape(shape);
}

}  // namespace vla
