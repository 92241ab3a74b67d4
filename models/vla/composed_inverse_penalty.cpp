// The inverse penalty written with primitive ops only, so that its gradient comes from the tape:
// what the operator's analytic gradient is compared with.

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "models/vla/inverse_penalty.hpp"

namespace vla {
namespace {

// Vector `m` of token t, of x (B, T, H, n, d), as columns (B, H, d, 1).
Var column(const Var& x, Index t, Index m) {
  return reshape(slice(slice(x, 1, t, t + 1), 3, m, m + 1), {x.size(0), x.size(2), x.size(4), 1});
}

// The scalar of token t, of x (B, T, H) or (B, T, H, n), as (B, H, 1, 1).
Var scalar(const Var& x, Index t, Index m = 0) {
  Var token = slice(x, 1, t, t + 1);
  if (x.value().rank() == 4) token = slice(token, 3, m, m + 1);
  return reshape(token, {x.size(0), x.size(2), 1, 1});
}

// Inverse of symmetric positive definite matrices (..., d, d) by elimination, one pivot at a time.
Var inverse(const Var& matrix) {
  const Index d = matrix.size(-1);
  Var work = matrix;
  for (Index p = 0; p < d; ++p) {  // symmetric sweep: after all pivots `work` is -matrix^-1
    const Var row = slice(work, -2, p, p + 1), column = slice(work, -1, p, p + 1);
    const Var pivot = slice(row, -1, p, p + 1);
    Tensor on_pivot = Tensor::zeros({d, 1}, DType::uint8);
    on_pivot.mutable_values<std::uint8_t>()[static_cast<std::size_t>(p)] = 1;
    on_pivot = on_pivot.to(matrix.device());
    const Tensor on_pivot_row = on_pivot.reshape({1, d});
    Var swept = work - matmul(column, row) / pivot;
    swept = where(on_pivot, row / pivot, swept);
    swept = where(on_pivot_row, column / pivot, swept);
    Tensor corner = Tensor::zeros({d, d}, DType::uint8);
    corner.mutable_values<std::uint8_t>()[static_cast<std::size_t>(p * (d + 1))] = 1;
    const Var minus_one(Tensor::full({1}, -1, matrix.dtype(), matrix.device()));
    work = where(corner.to(matrix.device()), minus_one / pivot, swept);
  }
  return -work;
}

Var with_vector_axis(const Var& x) {
  if (x.value().rank() == 5) return x;
  return reshape(x, x.shape().inserted(3, 1).sizes());
}

}  // namespace

InversePenaltyResult composed_inverse_penalty(const Var& x, const Penalty& penalty,
                                              const InversePenaltyOptions& options) {
  const Index batch = x.size(0), time = x.size(1), heads = x.size(2), width = x.size(-1);
  const Var vectors = with_vector_axis(x), directions = with_vector_axis(penalty.directions);
  Tensor identity = Tensor::zeros({width, width}, x.dtype());
  dispatch_floating(x.dtype(), "inverse_penalty", [&](auto zero) {
    for (Index i = 0; i < width; ++i) identity.mutable_data<decltype(zero)>()[i * (width + 1)] = 1;
  });
  identity = identity.to(x.device());
  const Var lambda0 = reshape(penalty.lambda0, {1, heads, 1, 1});
  const Var start = Var(Tensor::zeros({batch, heads, width, width}, x.dtype(), x.device())) +
                    lambda0 * Var(identity);
  Var m = start, a = Var(zeros_like(m.value())) + Var(identity) / lambda0;
  const Var one(Tensor::full({1}, 1, x.dtype(), x.device()));
  Var kept = one;
  std::vector<Var> outputs;
  for (Index t = 0; t < time; ++t) {
    if (penalty.forget.defined()) {
      const Var gamma = scalar(penalty.forget, t);
      kept = kept * gamma;
      m = m * gamma;
      a = a / gamma;
    }
    for (Index i = 0; i < directions.size(3); ++i) {
      const Var u = column(directions, t, i);
      const Var weighted = penalty.weights.defined() ? u * scalar(penalty.weights, t, i) : u;
      const Var z = matmul(a, u);
      const Var weighted_z = matmul(a, weighted);
      const Var delta = matmul(u, weighted_z, {.transpose_a = true}) + 1.0;
      m = m + matmul(weighted, u, {.transpose_b = true});
      a = a - matmul(weighted_z, z, {.transpose_b = true}) / delta;
    }
    std::vector<Var> results;
    for (Index i = 0; i < vectors.size(3); ++i)
      results.push_back(reshape(matmul(a, column(vectors, t, i)), {batch, 1, heads, 1, width}));
    outputs.push_back(concat(results, 3));
    if (options.restore_period > 0 && (t + 1) % options.restore_period == 0) {
      m = m + start * (1.0 - kept);
      kept = one;
      a = inverse(m);
    }
  }
  Var output = outputs.empty() ? vectors : concat(outputs, 1);
  return {reshape(output, x.shape().sizes()),
          {.penalty = m.value().to(DType::float64), .tokens = time}};
}

}  // namespace vla
