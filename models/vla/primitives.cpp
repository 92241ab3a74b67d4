#include "models/vla/primitives.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/shaping.hpp"

namespace vla {
namespace {

Var column(const Var& x) { return reshape(x, {x.value().elements(), 1}); }
Var row(const Var& x) { return reshape(x, {1, x.value().elements()}); }

// A x for a matrix and a vector.
Var product(const Var& matrix, const Var& x) {
  return reshape(matmul(matrix, column(x)), {matrix.size(0)});
}

void check_inverse(const char* op, const Var& inverse, Index width) {
  check(inverse.shape() == Shape({width, width}), op, ": A has shape ", inverse.shape(), "; (",
        width, ", ", width, ") is needed");
}

}  // namespace

Var inner_product_score(const Var& keys, const Var& query, CallSite site) {
  check(keys.value().rank() == 2 && query.shape() == Shape({keys.size(1)}),
        "inner_product_score: keys ", keys.shape(), " and query ", query.shape(),
        " do not fit; (n, d) and (d) are needed");
  return scale(product(keys, query), 1 / std::sqrt(static_cast<double>(keys.size(1))), site);
}

// With A' = A - z z^T / delta, z = A u, delta = 1 + u.z, the adjoint G of A' made symmetric and
// P = I - z u^T / delta:  dA = P^T G P,  du = -(2 / delta) A' G z.
Var sherman_morrison(const Var& inverse, const Var& u, CallSite site) {
  check(u.value().rank() == 1, "sherman_morrison: u has shape ", u.shape(), "; (d) is needed");
  check_inverse("sherman_morrison", inverse, u.size(0));
  const Var a(inverse.value()), direction(u.value());
  const Var z = product(a, direction);
  const double delta = 1 + matmul(row(direction), column(z)).value().item();
  check(delta != 0, "sherman_morrison: 1 + u.A u is 0: M + u u^T has no inverse");
  const Tensor updated = (a - matmul(column(z), row(z)) / delta).value();
  return record(
      "sherman_morrison", updated, {inverse, u}, {u.value(), z.value(), updated},
      [delta](const BackwardContext& at) -> std::vector<Tensor> {
        const Var upstream(at.gradient()), u(at.saved(0)), z(at.saved(1)), updated(at.saved(2));
        const Var g = (upstream + permute(upstream, {1, 0})) / 2.0;
        const Var gz = product(g, z) / delta;
        const double along = matmul(row(z), column(gz)).value().item() / delta;
        const Var cross = matmul(column(u), row(gz));
        const Var da = g - cross - permute(cross, {1, 0}) + along * matmul(column(u), row(u));
        return {da.value(), (product(updated, gz) * -2.0).value()};
      },
      site);
}

Var sherman_morrison_updates(const Var& inverse, const Var& directions, CallSite site) {
  check(directions.value().rank() == 2, "sherman_morrison_updates: directions have shape ",
        directions.shape(), "; (r, d) is needed");
  Var a = inverse;
  for (Index m = 0; m < directions.size(0); ++m)
    a = sherman_morrison(a, reshape(slice(directions, 0, m, m + 1), {directions.size(1)}), site);
  return a;
}

Var recover_alpha(const Var& inverse, const Var& scores, CallSite site) {
  check(scores.value().rank() == 1, "recover_alpha: scores have shape ", scores.shape(),
        "; (n) is needed");
  check_inverse("recover_alpha", inverse, scores.size(0));
  return reshape(matmul(inverse, column(scores)), {scores.size(0)}, site);
}

Var memory_update(const Var& memory, const Var& alpha, const Var& value, const Var& key,
                  AlphaScales scales, CallSite site) {
  const Shape expected{value.value().elements(), key.value().elements()};
  check(memory.shape() == expected, "memory_update: memory ", memory.shape(), " is not ", expected);
  const Index needed = scales == AlphaScales::all    ? 1
                       : scales == AlphaScales::rows ? expected[0]
                                                     : expected[1];
  check(alpha.value().elements() == needed, "memory_update: alpha has ", alpha.value().elements(),
        " elements; ", needed, " are needed");
  const Var shaped = scales == AlphaScales::rows ? column(alpha) : row(alpha);
  return add(memory, shaped * matmul(column(value), row(key)), site);
}

}  // namespace vla
