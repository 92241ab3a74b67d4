// Lesson 6: the Sherman-Morrison formula, and its gradient in three ways.
//
// Let M = lambda I + u_1 u_1^T + ... + u_n u_n^T, and A its inverse. When M grows by another u u^T,
// A need not be computed anew: with z = A u and delta = 1 + u . z it becomes A - z z^T / delta. We
// want y = A x, and the gradient of a loss of y with respect to x, all u and lambda.
#include <cstdio>

#include "framework/framework.hpp"
using namespace vla;

// Vectors are columns, (d, 1): a . b = a^T b is (1, 1), and the outer product a b^T is (d, d).
Var dot(const Var& a, const Var& b) { return matmul(a, b, {.transpose_a = true}); }
Var outer(const Var& a, const Var& b) { return matmul(a, b, {.transpose_b = true}); }

// First way: one step of the formula is made of ops that have gradients. Nothing else to do.
Var composed_step(const Var& A, const Var& u) {
  const Var z = matmul(A, u);
  return A - outer(z, z) / (dot(u, z) + 1.0);
}

// Second way: the step as one op. With B the new A, G the gradient of B made symmetric, and
// P = I - z u^T / delta, by which B = P A:    dA = P^T G P,    du = -2 B G z / delta.
Var analytic_step(const Var& A, const Var& u) {
  const Tensor next = composed_step(detach(A), detach(u)).value();
  const auto rule = [](const BackwardContext& at) -> std::vector<Tensor> {
    const Var dB(at.gradient()), A(at.saved(0)), u(at.saved(1)), B(at.saved(2));
    const Var z = matmul(A, u), delta = dot(u, z) + 1.0, G = (dB + permute(dB, {1, 0})) * 0.5;
    const Var GP = G - outer(matmul(G, z), u) / delta, dA = GP - outer(u, dot(GP, z)) / delta;
    return {dA.value(), (matmul(B, matmul(G, z)) / delta * -2.0).value()};
  };
  return record("sherman_morrison", next, {A, u}, {A.value(), u.value(), next}, rule);
}

// y by steps. U (n, 2) has the u as rows.
template <class Step>
Var by_steps(Step step, const Var& x, const Var& U, const Var& lambda) {
  Var A = Var(Tensor::from<double>({2, 2}, {1, 0, 0, 1})) / lambda;
  for (Index i = 0; i < U.size(0); ++i) A = step(A, reshape(slice(U, 0, i, i + 1), {2, 1}));
  return matmul(A, x);
}

// Third way: M y = x defines y, whatever path led there, so M dy = dx - dM y. All gradients follow
// from one vector h = A g, that is y again with the gradient g of y in place of x:
//     dx = h,    du_i = -(u_i . y) h - (u_i . h) y,    dlambda = -h . y.
Var implicit(const Var& x, const Var& U, const Var& lambda) {
  const Tensor y = by_steps(composed_step, detach(x), detach(U), detach(lambda)).value();
  const auto rule = [](const BackwardContext& at) -> std::vector<Tensor> {
    const Var g(at.gradient()), U(at.saved(0)), lambda(at.saved(1)), y(at.saved(2));
    const Var h = by_steps(composed_step, g, U, lambda);
    const Var dU = -outer(matmul(U, y), h) - outer(matmul(U, h), y);
    return {h.value(), dU.value(), (-dot(h, y)).value()};
  };
  return record("implicit", y, {x, U, lambda}, {U.value(), lambda.value(), y}, rule);
}

int main() {
  const Var x = Var::parameter(Tensor::from<double>({2, 1}, {1, 2}));
  const Var U = Var::parameter(Tensor::from<double>({3, 2}, {1, 0.2, 0.3, -1, 0.5, 0.5}));
  const Var lambda = Var::parameter(Tensor::from<double>({1, 1}, {0.5}));
  std::printf("way               loss        dlambda          du_11  steps  bytes kept\n");
  const auto show = [&](const char* name, const auto& way) {
    Tape tape;
    const Var loss = sum(square(way(x, U, lambda)));
    const auto steps = tape.size(), bytes = tape.saved_bytes();
    const Gradients g = tape.backward(loss);
    std::printf("%s  %.10f  %.10f  %.10f  %5zu  %10zu\n", name, loss.value().item(),
                g[lambda].item(), g[U].at<double>({0, 0}), steps, bytes);
  };
  show("composed", [](const auto&... in) { return by_steps(composed_step, in...); });
  show("analytic", [](const auto&... in) { return by_steps(analytic_step, in...); });
  show("implicit", implicit);
}

/* It prints

way               loss        dlambda          du_11  steps  bytes kept
composed  1.3720438661  -1.4470481458  -0.5570205147     28         576
analytic  1.3720438661  -1.4470481458  -0.5570205147     13         360
implicit  1.3720438661  -1.4470481458  -0.5570205147      3         104
*/
