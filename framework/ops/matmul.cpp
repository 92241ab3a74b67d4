#include "framework/ops/matmul.hpp"

#include <algorithm>
#include <atomic>

#include "framework/ops/blas_cuda.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/matmul_cuda.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/reduce_cuda.hpp"
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

cuda::Operand operand(const Side& side) {
  return {&side.matrices, side.stored_columns(), side.step()};
}

// The same on CUDA: the stacked matrices as one, the others as a batch.
void multiply_each_on_cuda(const Side& a, const Side& b, Index batch, Tensor& c) {
  const Index m = a.rows(), k = a.columns(), n = b.columns();
  const bool stacked = b.step() == 0 && !a.transposed;
  cuda::gemm("matmul", a.op(), b.op(), stacked ? batch * m : m, n, k, operand(a), operand(b), 0, c,
             stacked ? 1 : batch);
}

void multiply_and_sum_on_cuda(const Side& a, const Side& b, Index batch, Tensor& c) {
  const Index m = a.rows(), k = a.columns(), n = b.columns();
  if ((a.transposed && !b.transposed) || batch == 0)
    return cuda::gemm("matmul", a.op(), b.op(), m, n, batch * k, operand(a), operand(b), 0, c);
  // One product after the other, in order: the sum is the same every time.
  Tensor products({batch, m, n}, c.dtype(), c.device());
  cuda::gemm("matmul", a.op(), b.op(), m, n, k, operand(a), operand(b), 0, products, batch);
  c = sum(Var(products), {0}).value();
}

// The product under `shape`; one matrix out of many products is their sum.
Tensor multiply(const Side& a, const Side& b, const Shape& shape, DType dtype) {
  Tensor c(shape, dtype, a.matrices.device());
  const Shape& longer =
      a.matrices.rank() >= b.matrices.rank() ? a.matrices.shape() : b.matrices.shape();
  const Index batch = product_of(longer, longer.rank() - 2);
  const bool each = shape.rank() == longer.rank();
  const auto on_cpu = [&] {
    dispatch_floating(c.dtype(), "matmul", [&](auto zero) {
      using T = decltype(zero);
      each ? multiply_each<T>(a, b, batch, c) : multiply_and_sum<T>(a, b, batch, c);
    });
  };
  on_device("matmul", c.device(), on_cpu, [&] {
    each ? multiply_each_on_cuda(a, b, batch, c) : multiply_and_sum_on_cuda(a, b, batch, c);
  });
  return c;
}

Tensor multiply(const Side& a, const Side& b, const Shape& shape) {
  return multiply(a, b, shape, a.matrices.dtype());
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

std::atomic<MatmulPrecision> precision_in_use{MatmulPrecision::float32};

}  // namespace

MatmulPrecision matmul_precision() { return precision_in_use; }
void set_matmul_precision(MatmulPrecision precision) { precision_in_use = precision; }

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

// y = x W^T + b on CUDA, with weight of the type of x.
void linear_on_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& y) {
  const Index in = weight.size(1), out = weight.size(0);
  const Index rows = product_of(x.shape(), x.rank() - 1);
  const bool biased = bias.defined();
  if (biased && cuda::gemm_with_bias("linear", rows, out, in, x, weight, bias.to(x.dtype()), y))
    return;
  if (biased) cuda::fill_rows(bias, y);
  cuda::gemm("linear", Transpose::no, Transpose::yes, rows, out, in, {&x, in, 0}, {&weight, in, 0},
             biased ? 1 : 0, y);
}

Tensor linear_gradient_x(const Tensor& dy, const Tensor& weight, const Shape& shape) {
  const Index rows = product_of(dy.shape(), dy.rank() - 1);
  const Side upstream{dy.reshape(Shape{rows, weight.size(0)})};
  return multiply(upstream, {weight}, {rows, weight.size(1)}).reshape(shape);
}

// The type of parameters that are applied to activations of type `dtype`.
DType parameter_type(DType dtype) { return dtype == DType::bfloat16 ? DType::float32 : dtype; }

Tensor linear_gradient_weight(const Tensor& dy, const Tensor& x, const Shape& shape) {
  const Index rows = product_of(x.shape(), x.rank() - 1);
  const Side upstream{dy.reshape(Shape{rows, shape[0]}), true};
  return multiply(upstream, {x.reshape(Shape{rows, shape[1]})}, shape, parameter_type(x.dtype()));
}

Tensor linear_gradient_bias_on_cpu(const Tensor& dy) {
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

Tensor linear_gradient_bias(const Tensor& dy) {
  return on_device(
      "linear", dy.device(), [&] { return linear_gradient_bias_on_cpu(dy); },
      [&] {
        Tensor dbias({dy.size(-1)}, parameter_type(dy.dtype()), dy.device());
        const Index out = dy.size(-1), rows = product_of(dy.shape(), dy.rank() - 1);
        cuda::reduce_run(SumFold(), dy, {.length = rows, .inner = out}, dbias);
        return dbias;
      });
}

}  // namespace

Var linear(const Var& x, const Var& weight, const Var& bias, CallSite site) {
  check_parameters("linear", x.value(), {&weight.value()});
  check(weight.value().rank() == 2, "linear: weight has shape ", weight.shape(),
        "; (out, in) is needed");
  check(x.value().rank() >= 1 && x.size(-1) == weight.size(1), "linear: x has shape ", x.shape(),
        ", weight (out, in) is ", weight.shape(), "; the last axis of x must be `in`");
  if (bias.defined()) {
    check_parameters("linear", x.value(), {&bias.value()});
    check(bias.shape() == Shape{weight.size(0)}, "linear: bias has shape ", bias.shape(),
          ", weight (out, in) is ", weight.shape(), "; (out) is needed");
  }

  Tensor y(x.shape().with(-1, weight.size(0)), x.dtype(), x.device());
  const Tensor factor = weight.value().to(x.dtype());  // another only where x is bfloat16
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "linear", [&](auto zero) {
      linear_kernel<decltype(zero)>(x.value(), factor, value_or_none(bias), y);
    });
  };
  on_device("linear", x.device(), on_cpu,
            [&] { linear_on_cuda(x.value(), factor, value_or_none(bias), y); });
  std::vector<Var> inputs = {x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return record(
      "linear", y, inputs, {x.value(), factor},
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
