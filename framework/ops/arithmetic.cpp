#include "framework/ops/arithmetic.hpp"

#include <algorithm>

#include "framework/ops/arithmetic_cuda.hpp"
#include "framework/ops/arithmetic_functions.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/xtensor.hpp"

namespace vla {

using namespace arithmetic;

namespace {

// How an operand is read while the result is written as rows of `columns` elements: its element
// (row, column) is at row * outer + column * inner, inner 0 or 1.
struct Walk {
  Index columns = 0;  // 0: any number will do
  Index outer = 0;
  Index inner = 0;
  bool simple = true;  // false: the operand cannot be read in this way
};

// The operand is all of the result, one element, its last axes (a row that repeats) or its first
// axes (a column that repeats). Neither shape has an axis of size 0.
Walk walk(const Shape& operand, const Shape& result) {
  if (operand.elements() == result.elements()) return {.inner = 1};
  if (operand.elements() == 1) return {};
  const int missing = result.rank() - operand.rank();
  const auto repeats = [&](int axis) {
    return result[axis] > 1 && (axis < missing || operand[axis - missing] == 1);
  };
  int changes = 0;
  Index columns = 1;  // of the axes after the last change between repeating and not repeating
  bool row = false;
  int previous = -1;
  for (int axis = 0; axis < result.rank(); ++axis) {
    if (result[axis] == 1) continue;
    const int now = repeats(axis);
    if (previous >= 0 && now != previous) {
      ++changes;
      columns = 1;
    }
    columns *= result[axis];
    row = !now;
    previous = now;
  }
  if (changes > 1) return {.simple = false};
  return row ? Walk{.columns = columns, .inner = 1} : Walk{.columns = columns, .outer = 1};
}

// Fits both walks to one number of columns; false if there is none.
bool agree(Walk& a, Walk& b, Index elements, Index& columns) {
  if (!a.simple || !b.simple || (a.columns && b.columns && a.columns != b.columns)) return false;
  columns = std::max(a.columns, b.columns);
  if (!columns) columns = elements;
  for (Walk* operand : {&a, &b})
    if (!operand->columns && operand->inner) operand->outer = columns;
  return true;
}

template <class Function, class T>
void combine_rows(const T* a, const Walk& a_walk, const T* b, const Walk& b_walk, T* y,
                  Index columns, Index elements) {
  parallel_for(elements, kElementwiseGrain, [=](Index begin, Index end) {
    Index row = begin / columns, column = begin % columns;
    for (Index i = begin; i < end; ++row, column = 0) {
      const Index length = std::min(columns - column, end - i);
      const T* left = a + row * a_walk.outer + column * a_walk.inner;
      const T* right = b + row * b_walk.outer + column * b_walk.inner;
      T* out = y + i;
      if (a_walk.inner && b_walk.inner) {
#pragma omp simd
        for (Index j = 0; j < length; ++j) out[j] = Function::value(left[j], right[j]);
      } else if (a_walk.inner) {
        const T constant = *right;
#pragma omp simd
        for (Index j = 0; j < length; ++j) out[j] = Function::value(left[j], constant);
      } else {
        const T constant = *left;
#pragma omp simd
        for (Index j = 0; j < length; ++j) out[j] = Function::value(constant, right[j]);
      }
      i += length;
    }
  });
}

template <class Function, class T>
void combine_on_cpu(const Tensor& a, const Tensor& b, Tensor& result) {
  const Shape& shape = result.shape();
  if (shape.elements() == 0) return;
  Walk a_walk = walk(a.shape(), shape), b_walk = walk(b.shape(), shape);
  Index columns = 0;
  if (agree(a_walk, b_walk, shape.elements(), columns)) {
    combine_rows<Function>(a.data<T>(), a_walk, b.data<T>(), b_walk, result.mutable_data<T>(),
                           columns, shape.elements());
  } else {
    const auto left = as_xtensor<T>(a), right = as_xtensor<T>(b);
    auto out = as_mutable_xtensor<T>(result);
    xt::noalias(out) = Function::value(left, right);
  }
}

// Function of two tensors, broadcast.
template <class Function>
Tensor combine(const Tensor& a, const Tensor& b) {
  check_inputs(Function::name, {&a, &b});
  Tensor result(broadcast_shape(Function::name, a.shape(), b.shape()), a.dtype(), a.device());
  const auto on_cpu = [&] {
    dispatch_floating(a.dtype(), Function::name,
                      [&](auto zero) { combine_on_cpu<Function, decltype(zero)>(a, b, result); });
  };
  on_device(Function::name, a.device(), on_cpu,
            [&] { cuda::Binary<Function>::combine(a, b, result); });
  return result;
}

Tensor negative(const Tensor& x) { return map(Scale{-1}, x); }

// a where the mask is not zero, b elsewhere; all of one shape.
Tensor select(const Tensor& mask, const Tensor& a, const Tensor& b) {
  Tensor result = empty_like(a);
  const auto on_cpu = [&] {
    dispatch_floating(a.dtype(), "where", [&](auto zero) {
      using T = decltype(zero);
      const std::uint8_t* take = mask.data<std::uint8_t>();
      const T *yes = a.data<T>(), *no = b.data<T>();
      T* out = result.mutable_data<T>();
      parallel_for(result.elements(), kElementwiseGrain, [=](Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) {
          const T left = yes[i], right = no[i];  // both read, so that the loop has no branch
          out[i] = take[i] ? left : right;
        }
      });
    });
  };
  on_device("where", a.device(), on_cpu, [&] { cuda::select(mask, a, b, result); });
  return result;
}

// The gradient of one side of select: dy where the mask is not zero (or, for the other side, is).
Tensor select_gradient(const Tensor& mask, bool side, const Tensor& dy) {
  Tensor result = empty_like(dy);
  const auto on_cpu = [&] {
    dispatch_floating(dy.dtype(), "where", [&](auto zero) {
      using T = decltype(zero);
      const std::uint8_t* take = mask.data<std::uint8_t>();
      const T* in = dy.data<T>();
      T* out = result.mutable_data<T>();
      parallel_for(result.elements(), kElementwiseGrain, [=](Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) {
          const T upstream = in[i];
          out[i] = (take[i] != 0) == side ? upstream : T(0);
        }
      });
    });
  };
  on_device("where", dy.device(), on_cpu, [&] { cuda::select_gradient(mask, side, dy, result); });
  return result;
}

}  // namespace

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<Index> sizes;
  for (int axis = -rank; axis < 0; ++axis) {
    const Index left = -axis <= a.rank() ? a[axis] : 1, right = -axis <= b.rank() ? b[axis] : 1;
    check(left == right || left == 1 || right == 1, op, ": shapes ", a, " and ", b,
          " do not broadcast: ", left, " and ", right, " on axis ", axis,
          "; sizes must be equal or 1");
    sizes.push_back(left == 1 ? right : left);
  }
  return Shape(std::move(sizes));
}

namespace {

template <class T>
void broadcast_on_cpu(const Tensor& x, Tensor& result) {
  const Shape& shape = result.shape();
  const Walk from = walk(x.shape(), shape);
  if (!from.simple) {
    const auto source = as_xtensor<T>(x);
    auto out = as_mutable_xtensor<T>(result);
    const std::vector<std::size_t> sizes(shape.begin(), shape.end());
    xt::noalias(out) = xt::broadcast(source, sizes);
    return;
  }
  const T* in = x.data<T>();
  T* out = result.mutable_data<T>();
  const Index columns = from.columns ? from.columns : shape.elements();
  parallel_for(shape.elements(), kElementwiseGrain, [=](Index begin, Index end) {
    Index row = begin / columns, column = begin % columns;
    for (Index i = begin; i < end; ++row, column = 0) {
      const Index length = std::min(columns - column, end - i);
      const T* source = in + row * from.outer + column * from.inner;
      if (from.inner)
        std::copy_n(source, length, out + i);
      else
        std::fill_n(out + i, length, *source);
      i += length;
    }
  });
}

}  // namespace

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  check(broadcast_shape("broadcast_to", x.shape(), shape) == shape, "broadcast_to: shape ",
        x.shape(), " does not repeat to ", shape);
  if (x.elements() == shape.elements()) return x.reshape(shape);
  Tensor result(shape, x.dtype(), x.device());
  if (shape.elements() == 0) return result;
  const auto on_cpu = [&] {
    dispatch_any(x.dtype(), [&](auto zero) { broadcast_on_cpu<decltype(zero)>(x, result); });
  };
  on_device("broadcast_to", x.device(), on_cpu, [&] { cuda::broadcast(x, result); });
  return result;
}

Var add(const Var& a, const Var& b, CallSite site) {
  return record(
      Add::name, combine<Add>(a.value(), b.value()), {a, b}, {},
      [a_shape = a.shape(), b_shape = b.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor& dy = at.gradient();
        return {at.wants(0) ? sum_to_shape(dy, a_shape) : Tensor(),
                at.wants(1) ? sum_to_shape(dy, b_shape) : Tensor()};
      },
      site);
}

Var sub(const Var& a, const Var& b, CallSite site) {
  return record(
      Sub::name, combine<Sub>(a.value(), b.value()), {a, b}, {},
      [a_shape = a.shape(), b_shape = b.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor& dy = at.gradient();
        return {at.wants(0) ? sum_to_shape(dy, a_shape) : Tensor(),
                at.wants(1) ? negative(sum_to_shape(dy, b_shape)) : Tensor()};
      },
      site);
}

Var mul(const Var& a, const Var& b, CallSite site) {
  // Each factor is kept only for the gradient of the other.
  return record(
      Mul::name, combine<Mul>(a.value(), b.value()), {a, b},
      {b.requires_gradient() ? a.value() : Tensor(), a.requires_gradient() ? b.value() : Tensor()},
      [a_shape = a.shape(), b_shape = b.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor& dy = at.gradient();
        const Tensor &a = at.saved(0), &b = at.saved(1);
        return {at.wants(0) ? sum_to_shape(combine<Mul>(dy, b), a_shape) : Tensor(),
                at.wants(1) ? sum_to_shape(combine<Mul>(dy, a), b_shape) : Tensor()};
      },
      site);
}

Var div(const Var& a, const Var& b, CallSite site) {
  Tensor y = combine<Div>(a.value(), b.value());
  // The slope in b is -y / b: written with y, it cannot overflow where b squared would.
  return record(
      Div::name, y, {a, b}, {b.value(), b.requires_gradient() ? y : Tensor()},
      [a_shape = a.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &b = at.saved(0), &y = at.saved(1);
        const Tensor quotient = combine<Div>(at.gradient(), b);
        return {
            at.wants(0) ? sum_to_shape(quotient, a_shape) : Tensor(),
            at.wants(1) ? negative(sum_to_shape(combine<Mul>(quotient, y), b.shape())) : Tensor()};
      },
      site);
}

Var scale(const Var& x, double factor, CallSite site) {
  return record(
      Scale::name, map(Scale{factor}, x.value()), {x}, {},
      [factor](const BackwardContext& at) -> std::vector<Tensor> {
        return {map(Scale{factor}, at.gradient())};
      },
      site);
}

Var shift(const Var& x, double offset, CallSite site) {
  return record(
      Shift::name, map(Shift{offset}, x.value()), {x}, {},
      [](const BackwardContext& at) -> std::vector<Tensor> { return {at.gradient()}; }, site);
}

Var where(const Tensor& condition, const Var& a, const Var& b, CallSite site) {
  check(condition.defined() && condition.dtype() == DType::uint8, "where: the condition is ",
        condition, "; uint8 is needed");
  check(condition.device() == a.device(), "where: devices differ: ", condition.device(), " and ",
        a.device());
  check_inputs("where", {&a.value(), &b.value()});
  const Shape shape =
      broadcast_shape("where", condition.shape(), broadcast_shape("where", a.shape(), b.shape()));
  const Tensor mask = broadcast_to(condition, shape);
  return record(
      "where", select(mask, broadcast_to(a.value(), shape), broadcast_to(b.value(), shape)), {a, b},
      {mask},
      [a_shape = a.shape(), b_shape = b.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &dy = at.gradient(), &mask = at.saved(0);
        return {at.wants(0) ? sum_to_shape(select_gradient(mask, true, dy), a_shape) : Tensor(),
                at.wants(1) ? sum_to_shape(select_gradient(mask, false, dy), b_shape) : Tensor()};
      },
      site);
}

}  // namespace vla
