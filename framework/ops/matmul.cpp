#include "framework/ops/matmul.hpp"

#include <algorithm>

#include "framework/ops/blas.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/rows.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

constexpr Index kGrainMultiplications = 500'000;  // of a matrix in a batch, see gemm

// One side of a product: matrices along the last two axes, each taken transposed or not.
struct Side {
  Tensor matrices;
  bool transposed = false;

  Index rows() const { return matrices.size(transposed ? -1 : -2); }
  Index columns() const { return matrices.size(transposed ? -2 : -1); }
  Index stored_columns() const { return matrices.size(-1); }
  // Elements from one matrix to the next; 0 for one matrix that all share.
  Index step() const { return matrices.rank() == 2 ? 0 : rows() * columns(); }
  Side flipped() const { return {matrices, !transposed}; }
  Transpose op() const { return transposed ? Transpose::yes : Transpose::no; }
};

Index product_of(const Shape& shape, int axes) {
  Index product = 1;
  for (int axis = 0; axis < axes; ++axis) product *= shape[axis];
  return product;
}

// C_i = op(A_i) op(B_i), all of one size.
template <class T>
void multiply_each(const Side& a, const Side& b, Index batch, Tensor& c) {
  const Index m = a.rows(), k = a.columns(), n = b.columns();
  const T *from_a = a.matrices.data<T>(), *from_b = b.matrices.data<T>();
  T* into = c.mutable_data<T>();
  const bool stacked = b.step() == 0 && !a.transposed;  // the matrices of A are one tall matrix
  if (stacked || batch == 1)
    return parallel_gemm<T>(a.op(), b.op(), stacked ? batch * m : m, n, k, 1, from_a,
                            a.stored_columns(), from_b, b.stored_columns(), 0, into, n);
  const Index grain = std::max<Index>(1, kGrainMultiplications / std::max<Index>(1, m * n * k));
  parallel_for(batch, grain, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      gemm<T>(a.op(), b.op(), m, n, k, 1, from_a + i * a.step(), a.stored_columns(),
              from_b + i * b.step(), b.stored_columns(), 0, into + i * m * n, n);
  });
}

// C = sum over i of op(A_i) op(B_i).
template <class T>
void multiply_and_sum(const Side& a, const Side& b, Index batch, Tensor& c) {
  const Index m = a.rows(), k = a.columns(), n = b.columns();
  const T *from_a = a.matrices.data<T>(), *from_b = b.matrices.data<T>();
  T* into = c.mutable_data<T>();
  const bool stacked = a.transposed && !b.transposed;  // the sum is one long inner axis
  if (stacked || batch == 0)
    return parallel_gemm<T>(a.op(), b.op(), m, n, batch * k, 1, from_a, a.stored_columns(), from_b,
                            b.stored_columns(), 0, into, n);
  for (Index i = 0; i < batch; ++i)
    parallel_gemm<T>(a.op(), b.op(), m, n, k, 1, from_a + i * a.step(), a.stored_columns(),
                     from_b + i * b.step(), b.stored_columns(), i == 0 ? 0 : 1, into, n);
}

// The product under `shape`; one matrix out of many products is their sum.
Tensor multiply(const Side& a, const Side& b, const Shape& shape) {
  check_cpu("matmul", a.matrices);
  Tensor c(shape, a.matrices.dtype(), a.matrices.device());
  const Shape& longer =
      a.matrices.rank() >= b.matrices.rank() ? a.matrices.shape() : b.matrices.shape();
  const Index batch = product_of(longer, longer.rank() - 2);
  dispatch_floating(c.dtype(), "matmul", [&](auto zero) {
    using T = decltype(zero);
    if (shape.rank() == longer.rank())
      multiply_each<T>(a, b, batch, c);
    else
      multiply_and_sum<T>(a, b, batch, c);
  });
  return c;
}

// The shape of the product, after checking that the sides fit.
Shape matmul_shape(const Side& a, const Side& b) {
  const Shape &left = a.matrices.shape(), &right = b.matrices.shape();
  check_inputs("matmul", {&a.matrices, &b.matrices});
  check(left.rank() >= 2 && right.rank() >= 2, "matmul: shapes ", left, " x ", right,
        "; both sides need 2 axes or more");
  check(a.columns() == b.rows(), "matmul: inner sizes differ: ", left,
        a.transposed ? " transposed" : "", " x ", right, b.transposed ? " transposed" : "");
  if (left.rank() > 2 && right.rank() > 2)
    check(std::equal(left.begin(), left.end() - 2, right.begin(), right.end() - 2),
          "matmul: leading axes differ: ", left, " x ", right,
          "; they must be equal, or one side has none");
  const Shape& longer = left.rank() >= right.rank() ? left : right;
  return longer.with(-2, a.rows()).with(-1, b.columns());
}

// With C = op(A) op(B): d op(A) = dC op(B)^T and d op(B) = op(A)^T dC; a transposed side wants the
// transpose of that.
Tensor matmul_gradient_a(const Tensor& dc, const Side& a, const Side& b) {
  const Side upstream{dc};
  const Shape& shape = a.matrices.shape();
  return a.transposed ? multiply(b, upstream.flipped(), shape)
                      : multiply(upstream, b.flipped(), shape);
}

Tensor matmul_gradient_b(const Tensor& dc, const Side& a, const Side& b) {
  const Side upstream{dc};
  const Shape& shape = b.matrices.shape();
  return b.transposed ? multiply(upstream.flipped(), a, shape)
                      : multiply(a.flipped(), upstream, shape);
}

}  // namespace

Var matmul(const Var& a, const Var& b, MatmulOptions options, CallSite site) {
  const Side left{a.value(), options.transpose_a}, right{b.value(), options.transpose_b};
  Tensor c = multiply(left, right, matmul_shape(left, right));
  return record(
      "matmul", c, {a, b}, {a.value(), b.value()},
      [options](const BackwardContext& at) -> std::vector<Tensor> {
        const Side a{at.saved(0), options.transpose_a}, b{at.saved(1), options.transpose_b};
        const Tensor& dc = at.gradient();
        return {at.wants(0) ? matmul_gradient_a(dc, a, b) : Tensor(),
                at.wants(1) ? matmul_gradient_b(dc, a, b) : Tensor()};
      },
      site);
}

// --- linear -------------------------------------------------------------------------------------

namespace {

// y = x W^T + b; `bias` may be undefined.
template <class T>
void linear_kernel(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& y) {
  const Index in = weight.size(1), out = weight.size(0);
  const Index rows = product_of(x.shape(), x.rank() - 1);
  T* into = y.mutable_data<T>();
  if (bias.defined()) {
    const T* from = bias.data<T>();
    parallel_for(rows, row_grain(out), [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) std::copy_n(from, out, into + row * out);
    });
  }
  parallel_gemm<T>(Transpose::no, Transpose::yes, rows, out, in, 1, x.data<T>(), in,
                   weight.data<T>(), in, bias.defined() ? 1 : 0, into, out);
}

Tensor linear_gradient_x(const Tensor& dy, const Tensor& weight, const Shape& shape) {
  const Index rows = product_of(dy.shape(), dy.rank() - 1);
  const Side upstream{dy.reshape(Shape{rows, weight.size(0)})};
  return multiply(upstream, {weight}, {rows, weight.size(1)}).reshape(shape);
}

Tensor linear_gradient_weight(const Tensor& dy, const Tensor& x, const Shape& shape) {
  const Index rows = product_of(x.shape(), x.rank() - 1);
  const Side upstream{dy.reshape(Shape{rows, shape[0]}), true};
  return multiply(upstream, {x.reshape(Shape{rows, shape[1]})}, shape);
}

Tensor linear_gradient_bias(const Tensor& dy) {
  return dispatch_floating(dy.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    const T* upstream = dy.data<T>();
    const Index out = dy.size(-1), rows = product_of(dy.shape(), dy.rank() - 1);
    return sum_over_rows<T>(rows, out, [&](Index row, T* sums) {
      const T* from = upstream + row * out;
#pragma omp simd
      for (Index i = 0; i < out; ++i) sums[i] += from[i];
    });
  });
}

}  // namespace

Var linear(const Var& x, const Var& weight, const Var& bias, CallSite site) {
  check_inputs("linear", {&x.value(), &weight.value()});
  check(weight.value().rank() == 2, "linear: weight has shape ", weight.shape(),
        "; (out, in) is needed");
  check(x.value().rank() >= 1 && x.size(-1) == weight.size(1), "linear: x has shape ", x.shape(),
        ", weight (out, in) is ", weight.shape(), "; the last axis of x must be `in`");
  if (bias.defined()) {
    check_inputs("linear", {&x.value(), &bias.value()});
    check(bias.shape() == Shape{weight.size(0)}, "linear: bias has shape ", bias.shape(),
          ", weight (out, in) is ", weight.shape(), "; (out) is needed");
  }
  check_cpu("linear", x.value());

  Tensor y(x.shape().with(-1, weight.size(0)), x.dtype(), x.device());
  dispatch_floating(x.dtype(), "linear", [&](auto zero) {
    linear_kernel<decltype(zero)>(x.value(), weight.value(),
                                  bias.defined() ? bias.value() : Tensor(), y);
  });
  std::vector<Var> inputs = {x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return record(
      "linear", y, inputs, {x.value(), weight.value()},
      [biased = bias.defined()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor &dy = at.gradient(), &x = at.saved(0), &weight = at.saved(1);
        std::vector<Tensor> gradients = {
            at.wants(0) ? linear_gradient_x(dy, weight, x.shape()) : Tensor(),
            at.wants(1) ? linear_gradient_weight(dy, x, weight.shape()) : Tensor()};
        if (biased) gradients.push_back(at.wants(2) ? linear_gradient_bias(dy) : Tensor());
        return gradients;
      },
      site);
}

}  // namespace vla
